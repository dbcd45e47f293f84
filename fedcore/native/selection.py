"""A selection network as one compiled function: every value is read once, and lives in registers.

By numpy each minimum and maximum passes over whole rows in a cache. Here a vector of columns goes
through the network from end to end. An order of the operations in which few results are needed
long after they were made leaves most of them in registers. The results are the same numbers.
"""

from __future__ import annotations

import ctypes
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from fedcore.native.compiler import in_threads, library, vector_bytes

if TYPE_CHECKING:
    from fedcore.strategies.order_statistics import Plan

Kernel = Callable[..., None]

_PIECE = 1 << 14  # columns a thread takes at a time
#: By the bytes of a processor's vectors, AVX-512's and AVX2's: their floats, registers and names.
_VECTORS = {64: (16, 32, "_mm512", "__m512"), 32: (8, 16, "_mm256", "__m256")}
_RESERVED = 4  # registers left to what is not a value of the network

_SOURCE = """
#include <immintrin.h>
#include <stdint.h>

/* NaN as plus infinity. */
static inline __attribute__((always_inline)) {kind} load(const float *from) {{
    const {kind} value = {prefix}_loadu_ps(from), infinite = {prefix}_set1_ps(__builtin_inff());
#ifdef __AVX512F__
    return _mm512_mask_mov_ps(infinite, _mm512_cmp_ps_mask(value, value, _CMP_ORD_Q), value);
#else
    return _mm256_blendv_ps(infinite, value, _mm256_cmp_ps(value, value, _CMP_ORD_Q));
#endif
}}

/* rows lie stride apart; n is a multiple of {lanes}. */
void middle(const float *rows, int64_t stride, int64_t n, float *out) {{
    for (int64_t x = 0; x < n; x += {lanes}) {{
{body}
    }}
}}
"""


class Operation(NamedTuple):
    """``result`` is the greatest or the least of the values ``one`` and ``other``."""

    greatest: bool
    one: int
    other: int
    result: int


def compiled_columns(rows: torch.Tensor, plan: Plan, out: torch.Tensor) -> int:
    """How many columns of ``rows`` [K, n] it has averaged into ``out`` [n]: all but at most 15.

    0 for another type than float32, another device than the CPU or rows that are strided in
    themselves; and where there is no C compiler, AVX2 or AVX-512. Uses torch's number of threads.
    """
    if rows.dtype != torch.float32 or rows.device.type != "cpu" or rows.stride(1) != 1:
        return 0
    found = _kernel(len(rows), plan)
    if found is None:
        return 0
    kernel, lanes = found
    columns = rows.shape[1] // lanes * lanes
    starts = range(0, columns, _PIECE)
    threads = min(torch.get_num_threads(), len(starts))

    def work(thread: int, start: int) -> None:
        first, into = rows.data_ptr() + 4 * start, out.data_ptr() + 4 * start
        kernel(first, rows.stride(0), min(_PIECE, columns - start), into)

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


@functools.lru_cache(maxsize=64)
def _kernel(size: int, plan: Plan) -> tuple[Kernel, int] | None:
    """The function for ``plan`` on ``size`` rows, and the columns that it takes at a time."""
    source = program(size, plan)
    made = None if source is None else library(source)
    if made is None:
        return None
    function = made["middle"]
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    function.restype = None
    return function, _VECTORS[vector_bytes()][0]


def program(size: int, plan: Plan) -> str | None:
    """The C source for ``plan`` on ``size`` rows; None where this processor has none."""
    if vector_bytes() not in _VECTORS:
        return None
    lanes, registers, prefix, kind = _VECTORS[vector_bytes()]
    operations, kept = single_assignment(size, plan)
    lines: list[str] = []
    loaded: set[int] = set()

    def name(value: int) -> str:
        if value < size and value not in loaded:  # rows are read where they are needed first
            loaded.add(value)
            lines.append(f"const {kind} v{value} = load(rows + {value} * stride + x);")
        return f"v{value}"

    for greatest, one, other, result in near_order(operations, registers - _RESERVED):
        call = f"{prefix}_{'max' if greatest else 'min'}_ps({name(one)}, {name(other)})"
        lines.append(f"const {kind} v{result} = {call};")
    total = name(kept[0])
    for value in kept[1:]:
        total = f"{prefix}_add_ps({total}, {name(value)})"
    mean = f"{prefix}_div_ps({total}, {prefix}_set1_ps({len(kept)}))"
    lines.append(f"{prefix}_storeu_ps(out + x, {mean});")
    body = "\n".join(" " * 8 + line for line in lines)
    return _SOURCE.format(kind=kind, prefix=prefix, lanes=lanes, body=body)
