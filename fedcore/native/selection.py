"""A selection network as one compiled function: every value is read once, and lives in registers.

By numpy each minimum and maximum passes over whole rows in a cache. Here a vector of columns goes
through the network from end to end. An order of the operations in which few results are needed
long after they were made leaves most of them in registers. The results are the same numbers.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch

from fedcore.native.compiler import Target, target
from fedcore.native.functions import CFile
from fedcore.native.selection_plan import Plan
from fedcore.native.threads import in_threads

PIECE = 1 << 14  # columns a thread takes at a time
#: Registers by the bytes of a processor's vectors, AVX-512's and AVX2's.
_REGISTERS = {64: 32, 32: 16}
_RESERVED = 4  # registers left to what is not a value of the network


class Operation(NamedTuple):
    """``result`` is the greatest or the least of the values ``one`` and ``other``."""

    greatest: bool
    one: int
    other: int
    result: int


def compiled_columns(rows: torch.Tensor, plan: Plan, out: torch.Tensor, piece: int = PIECE) -> int:
    """How many columns of ``rows`` [K, n] it has averaged into ``out`` [n]: all but at most 15.

    0 for another type than float32, another device than the CPU or rows that are strided in
    themselves; and where there is no C compiler, AVX2 or AVX-512. Uses torch's number of threads,
    each of which takes ``piece`` columns at a time, a multiple of 16.
    """
    if rows.dtype != torch.float32 or rows.device.type != "cpu" or rows.stride(1) != 1:
        return 0
    functions = file(len(rows), plan).functions()
    if functions is None:
        return 0
    kernel, lanes = functions["middle"], target().lanes
    columns = rows.shape[1] // lanes * lanes
    starts = range(0, columns, piece)
    threads = min(torch.get_num_threads(), len(starts))

    def work(thread: int, start: int) -> None:
        first, into = rows.data_ptr() + 4 * start, out.data_ptr() + 4 * start
        kernel(first, rows.stride(0), min(piece, columns - start), into)

    in_threads(work, starts, threads)
    return columns


def single_assignment(size: int, plan: Plan) -> tuple[list[Operation], list[int]]:
    """The operations of ``plan`` on ``size`` rows, each with a value of its own; those kept."""
    value = {row: row for row in range(size)}
    operations: list[Operation] = []
    for greatest, one, other, into in plan.operations:
        made = Operation(greatest, value[one], value[other], size + len(operations))
        operations.append(made)
        value[into] = made.result
    return operations, [value[row] for row in plan.kept]


def near_order(operations: Sequence[Operation], registers: int) -> list[Operation]:
    """``operations`` in an order in which operands are at hand: greedily, by simulation.

    Of those that can be done, the next is one whose operands are among the ``registers`` values
    that were used last, then one that is the last to need its operands.
    """
    users, missing = defaultdict(list), {}
    made = {operation.result for operation in operations}
    for operation in operations:
        for value in operation[1:3]:
            users[value].append(operation)
        missing[operation] = sum(value in made for value in operation[1:3])
    left = {value: len(by) for value, by in users.items()}
    ready = [operation for operation in operations if not missing[operation]]
    at_hand: list[int] = []
    order = []

    def distance(operation: Operation) -> tuple[int, int, int]:
        values = operation[1:3]
        held = sum(value in at_hand for value in values)
        return -held, -sum(left[value] == 1 for value in values), operation.result

    while ready:
        operation = min(ready, key=distance)
        ready.remove(operation)
        order.append(operation)
        for value in operation[1:3]:
            left[value] -= 1
            if value in at_hand:
                at_hand.remove(value)
            if left[value]:
                at_hand.append(value)
        at_hand = [*at_hand, operation.result][-registers:]
        for user in users[operation.result]:
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return order


def network(size: int, plan: Plan, registers: int) -> str:
    """``plan`` on ``size`` rows, as the header that selection.c includes."""
    operations, kept = single_assignment(size, plan)
    lines: list[str] = []
    loaded: set[int] = set()

    def load(value: int) -> None:
        if value < size and value not in loaded:  # rows are read where they are needed first
            loaded.add(value)
            lines.append(f"LOAD({value})")

    for greatest, one, other, result in near_order(operations, registers):
        load(one)
        load(other)
        lines.append(f"{'GREATEST' if greatest else 'LEAST'}({result}, {one}, {other})")
    for place, value in enumerate(kept):
        load(value)
        lines.append(f"{'MORE' if place else 'FIRST'}({value})")
    return "\n".join([*lines, f"MEAN({len(kept)})"])


@functools.lru_cache(maxsize=64)
def file(size: int, plan: Plan) -> CFile:
    """The C file whose function ``middle`` is ``plan`` on ``size`` rows."""

    def definitions(here: Target) -> dict[str, int] | None:
        return {"LANES": here.lanes} if here.vector in _REGISTERS else None

    def headers(here: Target) -> dict[str, str]:
        return {"network.h": network(size, plan, _REGISTERS[here.vector] - _RESERVED)}

    return CFile("selection", {"middle": "piip"}, definitions, headers)
