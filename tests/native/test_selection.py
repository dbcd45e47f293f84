"""The compiled network gives what numpy's passes over the same network give."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.native import disabled, selection
from fedcore.native.compiler import vectors_of
from fedcore.native.selection import compiled_columns, near_order, single_assignment
from fedcore.native.selection_plan import Plan, plan
from fedcore.strategies import order_statistics
from fedcore.strategies.order_statistics import middle_mean

KERNEL = selection.file(3, plan(3, 1)).functions() is not None
needs_kernel = pytest.mark.skipif(not KERNEL, reason="needs a C compiler, and AVX2 or AVX-512")


def rows_of(size: int, columns: int = 1003) -> torch.Tensor:
    """Normal values with ties, and columns that hold what is not finite."""
    rows = torch.randn(size, columns, generator=torch.Generator().manual_seed(size))
    rows[:, :100].round_()
    rows[0, 100:200] = math.nan
    rows[-1, 150:250] = math.inf
    rows[size // 2, 200:300] = -math.inf
    rows[:, 300] = math.nan
    return rows


@needs_kernel
@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    ("size", "cut"), [(1, 0), (2, 0), (3, 1), (4, 1), (10, 0), (10, 2), (10, 4), (37, 7), (50, 24)]
)
def test_the_same_numbers(size: int, cut: int) -> None:
    rows = rows_of(size)
    expected, found = middle_mean(rows, cut), torch.full((1003,), 7.0)
    assert compiled_columns(rows, plan(size, cut), found) in (1000, 992)  # vectors of 8, of 16
    assert torch.equal(found[:992].nan_to_num(nan=99), expected[:992].nan_to_num(nan=99))
    assert bool((found[1000:] == 7).all()), "written beyond what was said"


@needs_kernel
def test_the_middle_of_large_matrices_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(11)[:, :1001]  # rows that lie apart
    expected = middle_mean(rows, 3)
    monkeypatch.setattr(order_statistics, "COMPILED_FROM", 11 * 1001)
    done: list[int] = []

    def watched(rows: torch.Tensor, plan: Plan, out: torch.Tensor) -> int:
        done.append(compiled_columns(rows, plan, out))
        return done[-1]

    monkeypatch.setattr(order_statistics, "compiled_columns", watched)
    found = middle_mean(rows, 3)
    assert torch.equal(found.nan_to_num(nan=99), expected.nan_to_num(nan=99))
    assert 1001 - 16 < done[0] <= 1001, "numpy gets what fills no vector"


@needs_kernel
def test_threads_change_no_bit() -> None:
    rows = torch.randn(5, 1003, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(torch.zeros(1003))
            compiled_columns(rows, plan(5, 1), made[-1], 128)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert bool((made[0][:992] == middle_mean(rows, 1)[:992]).all())


def test_what_it_leaves_to_others() -> None:
    rows, out = rows_of(5), torch.zeros(1003)
    assert compiled_columns(rows.double(), plan(5, 1), out) == 0
    assert compiled_columns(rows.T.contiguous().T, plan(5, 1), out) == 0
    with disabled("selection"):
        assert compiled_columns(rows, plan(5, 1), out) == 0
    with vectors_of(16):
        assert compiled_columns(rows, plan(5, 1), out) == 0
    assert not out.any()


@given(size=st.integers(1, 60), data=st.data(), registers=st.integers(1, 30))
def test_any_order_has_each_operation_once_and_after_its_operands(size, data, registers) -> None:
    cut = data.draw(st.integers(0, (size - 1) // 2))
    operations, kept = single_assignment(size, plan(size, cut))
    order = near_order(operations, registers)
    assert sorted(order) == sorted(operations)
    made = set(range(size))
    for operation in order:
        assert {operation.one, operation.other} <= made
        made.add(operation.result)
    assert set(kept) <= made
    assert len(made) == size + len(operations)


def test_few_operands_are_far() -> None:
    """Those of a median of 50 rows that the 12 values used last do not hold."""

    def far(order) -> int:
        held: list[int] = []
        count = 0
        for place, operation in enumerate(order):
            later = {value for other in order[place + 1 :] for value in other[1:3]}
            for value in operation[1:3]:
                count += value not in held
            for value in operation[1:]:
                held = [*(other for other in held if other != value), value]
            held = [value for value in held if value in later][-12:]
        return count

    operations, _ = single_assignment(50, plan(50, 24))
    assert far(operations) > 500
    assert far(near_order(operations, 12)) < 250, "50 of them are the rows themselves"
