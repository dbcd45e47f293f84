"""What clients keep between rounds, by name: layers of their own, control variates, momenta."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedcore.engine.shared import Zeros

LAYERS = "layers"
"""Name of what FedBN's clients keep."""


class ClientMemory:
    """Of each of ``clients`` a vector of each of ``sizes``, zero at first.

    ``zeros`` allocates it: untouched pages of zeros take no memory, and those that the processes of
    a run share are seen by all.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        clients: int,
        zeros: Zeros,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.clients = clients
        self._kept = {
            n: zeros((clients, size), dtype=dtype, device=device) for n, size in sizes.items()
        }
        self._has = zeros((clients,), dtype=torch.bool, device="cpu") if sizes else None

    @property
    def rows(self) -> Mapping[str, torch.Tensor]:
        """What all clients keep, by name: [clients, size] each."""
        return self._kept

    def has(self, client: int) -> bool:
        """Whether ``client`` has taken part."""
        return self._has is not None and bool(self._has[client])

    def of(self, client: int) -> dict[str, torch.Tensor]:
        """What ``client`` keeps, by name; to be written to in place."""
        return {name: rows[client] for name, rows in self._kept.items()}

    def keep(self, client: int, keeps: bool = True) -> None:
        """Note that ``client`` has taken part; or have it forget that."""
        if self._has is None:
            return
        self._has[client] = keeps
        if not keeps:
            for rows in self._kept.values():
                rows[client].zero_()
