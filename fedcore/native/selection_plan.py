"""Selection networks: which minima and maxima bring the middle values of some rows to known places.

Parberry's pairwise sorting network (1992) without the comparators that the middle values do not
depend on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Plan:
    """``operations`` (greatest?, row, row, into): rows from K on are ``scratch``; then ``kept``."""

    operations: tuple[tuple[bool, int, int, int], ...]
    kept: tuple[int, ...]
    scratch: int


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
