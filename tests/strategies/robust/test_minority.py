"""What all rules that withstand f < K / 2 have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "caf": ("caf", {}),
    "cge": ("cge", {}),
    "dnc": ("dnc", {}),
    "dnc-sampled": ("dnc", {"sampled_coordinates": 2, "aggregation_iterations": 4}),
    "mda": ("mda", {}),
    "meamed": ("meamed", {}),
    "monna": ("monna", {}),
    "monna-median": ("monna", {"pivot": "median"}),
    "monna-first": ("monna", {"pivot": "first"}),
}
MOVED = {"caf", "dnc", "dnc-sampled", "mda", "meamed", "monna-median", "monna-first"}
SIZE = 7
FEW = settings(max_examples=8)


def of(name: str, f: int | None = 2, clients: int = SIZE) -> Scenario:
    fields = {"num_clients": clients, "fraction_train": 1.0, "num_byzantine": f}
    strategy, parameters = RULES[name]
    return Scenario(strategy=strategy, **fields, **parameters)


def drawn(seed: int, size: int = SIZE, width: int = 4, dtype: Any = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((size, width))).to(dtype)


@pytest.mark.parametrize("name", RULES)
@FEW
@given(seed=st.integers(0, 2**31), f=st.integers(0, 3), wide=st.booleans())
def test_steps_are_those_of_the_definition(held, name, seed, f, wide) -> None:
    """On all coordinates of a small model, and on a sample of a larger one."""
    for dtype in (torch.float32, torch.float64):
        held(of(name, f), drawn(seed, width=400 if wide else 3, dtype=dtype), rounds=2)


@pytest.mark.parametrize("name", sorted(set(RULES) - {"monna-first"}))
@FEW
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([-3.0, 1e-3, 1e6]))
def test_order_and_unit_do_not_matter(cohort, name, seed, scale) -> None:
    rows = drawn(seed)
    order = np.random.default_rng(seed).permutation(SIZE)
    rule = of(name).parts.strategy
    step = rule.step(rows, cohort(rows), {})
    turned = rule.step(rows[order], cohort(rows[order]), {})
    torch.testing.assert_close(turned, step, rtol=1e-9, atol=1e-12)
    scaled = rule.step(scale * rows, cohort(rows), {})
    torch.testing.assert_close(scaled, scale * step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(MOVED))
@FEW
@given(seed=st.integers(0, 2**31))
def test_a_common_part_moves_the_step(cohort, name, seed) -> None:
    rows, shift = drawn(seed), drawn(seed + 1, 1)[0]
    rule = of(name).parts.strategy
    step = rule.step(rows, cohort(rows), {})
    moved = rule.step(rows + shift, cohort(rows), {})
    torch.testing.assert_close(moved, step + shift, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(RULES) - MOVED))
def test_a_common_part_changes_the_choice_of_those_that_measure_from_zero(cohort, name) -> None:
    """Not one of ten shifts leaves the step relative to the rows as it was."""
    rule = of(name).parts.strategy
    gaps = []
    for seed in range(10):
        rows = drawn(seed)
        shift = 2 * rows[0]
        moved = rule.step(rows + shift, cohort(rows), {}) - shift
        gaps.append(float((moved - rule.step(rows, cohort(rows), {})).norm()))
    assert max(gaps) > 0.1


@pytest.mark.parametrize("name", sorted(RULES))
def test_nobody_to_withstand_is_the_unweighted_mean(held, name) -> None:
    rows = drawn(1)
    step, _ = held(of(name, 0), rows, samples=[1, 1, 1, 1, 1, 1, 50])
    torch.testing.assert_close(step, rows.mean(dim=0))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("places", [slice(0, 1), slice(None)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spoilt_rows_neither_crash_nor_win(held, name, value, places, dtype) -> None:
    """Two of seven, with one or all coordinates not finite or huge."""
    rows = drawn(3, dtype=dtype)
    spoilt = rows.clone()
    spoilt[1, places] = value
    spoilt[4, places] = value
    step, memory = held(of(name), spoilt)
    honest = rows[[0, 2, 3, 5, 6]]
    assert bool(step.isfinite().all())
    assert float(step.abs().max()) <= 3 * float(honest.abs().max())
    if name != "meamed":
        assert memory.noted.coefficients[1] == memory.noted.coefficients[4] == 0


@pytest.mark.parametrize("name", RULES)
def test_nothing_but_rows_that_are_not_finite_leaves_no_finite_model(cohort, name) -> None:
    rows = torch.full((SIZE, 3), float("nan"))
    assert not of(name).parts.strategy.step(rows, cohort(rows), {}).isfinite().any()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("clients", "f"), [(4, 2), (7, 4), (2, None)])
def test_too_small_a_cohort_is_refused_with_the_formula(name, clients, f) -> None:
    due = f or 1
    with pytest.raises(ScenarioError, match=rf"needs a cohort > 2 f, got {clients} <= 2 \* {due}"):
        of(name, f, clients)
    assert of(name, None, 8).parts.strategy.tolerated(8) == 3


@pytest.mark.parametrize("name", RULES)
def test_rows_behind_a_chain_are_what_counts(name) -> None:
    chained = {"preaggregation": "bucketing(size=2)", "num_clients": 8, "num_byzantine": 2}
    with pytest.raises(ScenarioError, match=r"got 4 rows of 8 clients <= 2 \* 2"):
        of(name).but(**chained)
    assert of(name).but(**{**chained, "num_byzantine": 1}).rows == 4


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_round_of_fewer_clients_than_planned_withstands_what_it_can(held, name, size) -> None:
    """Of three or four one; f is 3 of the seven planned. One or two are averaged."""
    rows = drawn(0, size)
    step, memory = held(of(name, 3), rows)
    if size < 3:
        torch.testing.assert_close(step, rows.mean(dim=0))
    elif name in ("cge", "dnc", "mda", "monna", "monna-median", "monna-first"):
        assert memory.noted.coefficients.count(0.0) == 1
