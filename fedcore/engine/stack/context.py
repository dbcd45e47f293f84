"""What the layers of a stacked network know of the batches that are passing, and how they look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mask:
    """A mask that the dropout layer at ``place`` draws: 1 / ``keep`` with probability ``keep``."""

    place: int
    keep: float
    shape: tuple[int, ...]
    dtype: torch.dtype

    def room(self, device: torch.device) -> torch.Tensor:
        """Memory for one."""
        return torch.empty(self.shape, dtype=self.dtype, device=device)


class Context:
    """Shared by the layers of one network; the training loop sets it before each pass.

    ``sizes`` are the samples of each client's batch. Where they differ, batches are padded to the
    longest, ``share`` [K, batch] is 1 / size for a client's own samples and 0 for padding, and
    ``counts`` [K] are the sizes on the device; else both are None. ``generators`` has one list per
    dropout layer, a generator for each client. Masks are drawn where they are needed and noted in
    ``drawn``, unless they are ``given``, drawn already, in the same order.
    """

    def __init__(self) -> None:
        self.sizes: tuple[int, ...] = ()
        self.share: torch.Tensor | None = None
        self.counts: torch.Tensor | None = None
        self.generators: list[Sequence[torch.Generator]] = []
        self.drawn: list[Mask] = []
        self.given: Iterator[torch.Tensor] | None = None

    def mask(self, place: int, keep: float, x: torch.Tensor) -> torch.Tensor:
        """The mask of ``x`` [K, batch, ...] by the dropout layer at ``place``."""
        mask = Mask(place, keep, tuple(x.shape), x.dtype)
        self.drawn.append(mask)
        return next(self.given) if self.given else self.draw(mask, mask.room(x.device))

    def draw(self, mask: Mask, room: torch.Tensor) -> torch.Tensor:
        """Draw ``mask`` into ``room``: for each client what it would draw alone."""
        room.zero_()
        generators = self.generators[mask.place]
        for own, size, generator in zip(room, self.sizes, generators, strict=False):
            own[:size].bernoulli_(mask.keep, generator=generator)
        return room.div_(mask.keep)


def merge(x: torch.Tensor) -> torch.Tensor:
    """[K, batch, C, *space] as [batch, K * C, *space], in channels_last order; a view if it can."""
    clients, batch, channels, *space = x.shape
    last = x.permute(1, *range(3, x.dim()), 0, 2).reshape(batch, *space, clients * channels)
    return last.movedim(-1, 1)


def split(x: torch.Tensor, clients: int) -> torch.Tensor:
    """The inverse of `merge`, always a view: [batch, K * C, *space] as [K, batch, C, *space]."""
    return x.view(len(x), clients, -1, *x.shape[2:]).transpose(0, 1)
