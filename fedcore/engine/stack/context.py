"""What the layers of a stacked network know of the batches that are passing, and how they look."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Context:
    """Shared by the layers of one network; the training loop sets it before each pass.

    ``sizes`` are the samples of each client's batch. Where they differ, batches are padded to the
    longest, ``share`` [K, batch] is 1 / size for a client's own samples and 0 for padding, and
    ``counts`` [K] are the sizes on the device; else both are None. ``generators`` has one list per
    dropout layer, a generator for each client.
    """

    def __init__(self) -> None:
        self.sizes: tuple[int, ...] = ()
        self.share: torch.Tensor | None = None
        self.counts: torch.Tensor | None = None
        self.generators: list[Sequence[torch.Generator]] = []


def merge(x: torch.Tensor) -> torch.Tensor:
    """[K, batch, C, *space] as [batch, K * C, *space], in channels_last order; a view if it can."""
    clients, batch, channels, *space = x.shape
    last = x.permute(1, *range(3, x.dim()), 0, 2).reshape(batch, *space, clients * channels)
    return last.movedim(-1, 1)


def split(x: torch.Tensor, clients: int) -> torch.Tensor:
    """The inverse of `merge`, always a view: [batch, K * C, *space] as [K, batch, C, *space]."""
    return x.view(len(x), clients, -1, *x.shape[2:]).transpose(0, 1)
