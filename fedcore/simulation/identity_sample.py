"""The coordinates at which the identity check looks at a round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedcore.strategies.definitions import Floats
from fedcore.streams import Generator

# A sample: blocks of neighbouring coordinates. Each costs a wait for memory in every row.
_BLOCKS, _WIDTH = 8, 24
_MOST = _BLOCKS * _WIDTH
_SEEN = 16.0  # multiples of the rounding that clients must differ by to be told apart
#: Coordinates that a look at all of them takes at a time.
CHUNK = 1 << 13


class Sample:
    """Draws coordinates by ``generator``: half of them all over the vector, half of its tensors.

    ``spans`` are (offset, size) of these. ``lot`` in [0, 1) was drawn with the last sample; it says
    which client is looked at closely.
    """

    def __init__(self, generator: Generator, spans: Sequence[tuple[int, int]] = ()) -> None:
        self._generator = generator
        self._spans = [span for span in spans if span[1]]
        self.lot = 0.0

    def draw(self, size: int) -> torch.Tensor:
        """Some of ``size`` coordinates, ascending, [s] int64 on the CPU; all where they are few."""
        draws = self._generator.random(3 * _BLOCKS).tolist()
        self.lot = draws.pop()
        if size <= _MOST:
            return torch.arange(size)
        few = min(_BLOCKS // 2, len(self._spans))
        blocks, begins = _BLOCKS - few, []
        for block in range(blocks):
            begins.append(int((block + draws.pop()) / blocks * (size - _WIDTH)))
        for _ in range(few):
            offset, length = self._spans[int(draws.pop() * len(self._spans))]
            begins.append(offset + int(draws.pop() * (max(length - _WIDTH, 0) + 1)))
        places = (np.array(begins)[:, None] + np.arange(_WIDTH)).ravel()
        return torch.from_numpy(np.unique(places[places < size]))


def visible(rows: Floats, start: Floats, eps: float, unit: float) -> bool:
    """Whether clients differ by more than 16 times the rounding; True of a single client.

    ``rows`` [K, s] are updates, ``start`` [s] the weights; ``eps`` is the rounding of these,
    ``unit`` that of a sum of updates.
    """
    if len(rows) == 1:
        return True
    with np.errstate(all="ignore"):
        coarse = _SEEN * (2 * eps * np.abs(start) + unit * np.abs(rows).max(axis=0))
        return bool((~(rows.max(axis=0) - rows.min(axis=0) <= coarse)).any())


def disagreement(
    updates: torch.Tensor, vector: torch.Tensor, eps: float, unit: float
) -> torch.Tensor:
    """Coordinates in which clients differ as in `visible`, at most a sample's; empty if none do."""
    found: list[torch.Tensor] = []
    for start in range(0, updates.shape[1], CHUNK):
        rows = updates[:, start : start + CHUNK].double()
        weights = vector[start : start + rows.shape[1]].double()
        coarse = _SEEN * (2 * eps * weights.abs() + unit * rows.abs().amax(dim=0))
        apart = ~(rows.amax(dim=0) - rows.amin(dim=0) <= coarse)
        found.append(apart.nonzero().flatten()[: _MOST - sum(map(len, found))] + start)
        if sum(map(len, found)) >= _MOST:
            break
    return torch.cat(found)


def columns(rows: torch.Tensor, places: torch.Tensor) -> Floats:
    """``rows`` [K, n] at ``places`` [s] as numpy float64, [K, s]."""
    if rows.is_cuda or rows.dtype not in (torch.float32, torch.float64):
        return host(rows[:, places])
    # numpy gathers three times as fast
    return rows.numpy()[:, places.numpy()].astype(np.float64)


def host(values: torch.Tensor) -> Floats:
    """``values`` as numpy float64."""
    array: Floats = values.to("cpu", torch.float64).numpy()
    return array
