"""The mean of the middle values of every coordinate, by a selection network or by sorting.

A network is a fixed list of minima and maxima of whole rows, so that each is one vector operation
over many coordinates (`fedcore.native.selection_plan`). Above `NETWORK_LIMIT` rows sorting takes
fewer operations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from fedcore.native.selection import compiled_columns
from fedcore.native.selection_plan import plan

#: Rows up to which a network is used: about 15 K log2(K) operations a coordinate there.
NETWORK_LIMIT = 100
#: Values from which it pays to compile a network, which takes half a second, once a machine.
COMPILED_FROM = 1 << 22
# Bytes of rows that are worked on at a time. Sorting wants them in a core's second-level cache; a
# network's many calls cost more than the third-level cache does; a GPU wants few large launches.
_SORTED, _NETWORK, _GPU = 1_300_000, 6_000_000, 1 << 30


def middle_mean(rows: torch.Tensor, cut: int) -> torch.Tensor:
    """The mean of each coordinate of ``rows`` [K, n] without its ``cut`` least and greatest, [n].

    ``0 <= cut < K / 2``; any strides, any device. A NaN counts as plus infinity, so that it is cut
    off first: a column is finite if no more than ``cut`` of its values are not.
    """
    out = torch.empty(rows.shape[1], dtype=rows.dtype, device=rows.device)
    network = len(rows) <= NETWORK_LIMIT
    budget = _GPU if rows.is_cuda else _NETWORK if network else _SORTED
    width = budget // (len(rows) * rows.element_size())
    width = min(max(width // 16, 1) * 16, rows.shape[1])  # rows of whole cache lines
    scratch = rows.new_empty(plan(len(rows), cut).scratch if network else 0, width)
    work = _by_network if network else _by_sorting
    done = 0
    if network and rows.numel() >= COMPILED_FROM:
        done = compiled_columns(rows, plan(len(rows), cut), out)
    for start in range(done, rows.shape[1], max(width, 1)):
        block, into = rows[:, start : start + width], out[start : start + width]
        work(block, cut, into, scratch)
        # minima, maxima and the order of sorting all carry a NaN that matters to the middle
        if bool(into.isnan().any()):
            work(block.masked_fill(block.isnan(), math.inf), cut, into, scratch)
    return out


def _by_sorting(rows: torch.Tensor, cut: int, out: torch.Tensor, scratch: torch.Tensor) -> None:
    columns = rows.T.contiguous()
    if not rows.is_cuda:
        columns.numpy().sort(axis=1)  # vectorised; torch's, on the CPU, is not
    else:
        columns = columns.sort(dim=1).values
    torch.mean(columns[:, cut : len(rows) - cut], dim=1, out=out)


def _by_network(rows: torch.Tensor, cut: int, out: torch.Tensor, scratch: torch.Tensor) -> None:
    made = plan(len(rows), cut)
    library: Any = torch
    total: Any = out
    blocks: tuple[Any, Any] = (rows, scratch[:, : rows.shape[1]])
    if not rows.is_cuda:  # a numpy call costs a sixth of a torch one
        library, total, blocks = np, out.numpy(), (blocks[0].numpy(), blocks[1].numpy())
    values = [*blocks[0], *blocks[1]]
    least, most = library.minimum, library.maximum
    with np.errstate(all="ignore"):  # what is not finite speaks for itself
        for greatest, one, other, into in made.operations:
            (most if greatest else least)(values[one], values[other], out=values[into])
        out.copy_(torch.as_tensor(values[made.kept[0]]))
        for row in made.kept[1:]:
            library.add(total, values[row], out=total)
    out.div_(len(made.kept))
