"""The mean of the middle values of every coordinate, by a selection network or by sorting.

A network is a fixed list of minima and maxima of whole rows, so that each is one vector operation
over many coordinates: Parberry's pairwise sorting network (1992) without the comparators that the
middle values do not depend on. Above `NETWORK_LIMIT` rows sorting takes fewer operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from fedcore.native.selection import compiled_columns

#: Rows up to which a network is used: about 15 K log2(K) operations a coordinate there.
NETWORK_LIMIT = 100
#: Values from which it pays to compile a network, which takes half a second, once a machine.
COMPILED_FROM = 1 << 22
# Bytes of rows that are worked on at a time. Sorting wants them in a core's second-level cache; a
# network's many calls cost more than the third-level cache does; a GPU wants few large launches.
_SORTED, _NETWORK, _GPU = 1_300_000, 6_000_000, 1 << 30


@dataclass(frozen=True)
class Plan:
    """``operations`` (greatest?, row, row, into): rows from K on are ``scratch``; then ``kept``."""

    operations: tuple[tuple[bool, int, int, int], ...]
    kept: tuple[int, ...]
    scratch: int


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


@lru_cache(maxsize=64)
def plan(size: int, cut: int) -> Plan:
    """How to bring the values of rank ``cut`` to ``size - cut - 1`` into known rows, unordered."""
    return min(
        (_plan(size, cut, low) for low in range(_padded(size) - size + 1)),
        key=lambda made: len(made.operations),
    )


def _padded(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _pairwise(size: int) -> Iterator[tuple[int, int]]:
    """Comparators of Parberry's pairwise sorting network for ``size``, a power of two."""
    half = 1
    while half < size:
        yield from ((i, i + half) for i in range(size) if not i & half)
        half *= 2
    step, reach = half // 4, 1
    while step:
        distance = reach
        while distance:
            gap = distance * step
            yield from ((i, i + gap) for i in range(step, size - gap) if i & step)
            distance //= 2
        step, reach = step // 2, 2 * reach + 1


def _plan(size: int, cut: int, low: int) -> Plan:
    """The plan with ``low`` of the padding rows at minus infinity and the rest at plus infinity."""
    padded = _padded(size)
    wires: list[int] = list(range(-low, padded - low))  # a padding row is < 0 or >= size
    comparators = []
    for i, j in _pairwise(padded):
        one, other = wires[i], wires[j]
        if 0 <= one < size and 0 <= other < size:
            comparators.append((one, other))
        elif one >= size or other < 0:  # padding goes to its end, whatever it meets
            wires[i], wires[j] = other, one
    ranked = [wire for wire in wires if 0 <= wire < size]
    kept = ranked[cut : size - cut]
    # backwards: an output counts if it is kept or read later; two kept ones need no order
    needed, last, steps = set(kept), dict.fromkeys(kept, True), []
    for one, other in reversed(comparators):
        if last.get(one) and last.get(other):
            continue
        if one in needed or other in needed:
            steps.append((one, other, one in needed, other in needed))
            needed |= {one, other}
            last[one] = last[other] = False
    return _allocate(size, kept, list(reversed(steps)))


def _allocate(size: int, kept: list[int], steps: list[tuple[int, int, bool, bool]]) -> Plan:
    """Places for the results of ``steps``: scratch rows only, reused as soon as they are free."""
    place = list(range(size))
    free: list[int] = []
    rows = size
    operations = []
    for one, other, least, greatest in steps:
        a, b = place[one], place[other]
        wanted = [(one, False)] * least + [(other, True)] * greatest
        for wire, upper in wanted:
            if (wire, upper) == wanted[-1]:  # the last result may go where an operand was
                free += [row for row in (a, b) if row >= size]
            if not free:
                free.append(rows)
                rows += 1
            place[wire] = free.pop()
            operations.append((upper, a, b, place[wire]))
    return Plan(tuple(operations), tuple(place[wire] for wire in kept), rows - size)
