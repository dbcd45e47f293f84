from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.scenario import Scenario

BASE = Scenario(strategy="centeredclipping", norm_bound=1.0)
ROWS = [[0.5], [3.0], [-10.0]]


def test_by_hand(cohort) -> None:
    """From 0: (0.5 + 1 - 1) / 3 = 1/6; from there (1/3 + 1 - 1) / 3 more: 5/18."""
    sent, memory = cohort(ROWS, samples=(1, 1, 90)), {}  # unweighted
    made = [BASE.parts.strategy.step(sent.updates, sent, memory).item() for _ in range(2)]
    assert made == pytest.approx([1 / 6, 5 / 18])
    assert BASE.parts.strategy.step(sent.updates, sent, {}).item() == pytest.approx(1 / 6)


def test_two_iterations_are_two_rounds_of_the_same_updates(cohort) -> None:
    sent = cohort(ROWS)
    twice = BASE.but(aggregation_iterations=2).parts.strategy
    assert twice.step(sent.updates, sent, {}).item() == pytest.approx(5 / 18)


@given(st.integers(0, 2**31), st.floats(0.01, 10), st.integers(1, 3))
def test_one_client_moves_the_aggregate_by_at_most_its_share(cohort, seed, radius, times) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((8, 3)))
    strategy = BASE.but(norm_bound=radius).parts.strategy
    memory: dict[str, torch.Tensor] = {}
    for _ in range(times):
        before = memory.get("centre", torch.zeros(3, dtype=torch.float64))
        step = strategy.step(rows, cohort(rows), memory)
        assert (step - before).norm() <= radius * (1 + 1e-9)
        attacked = rows.clone()
        attacked[0] = 1e12
        other = strategy.step(attacked, cohort(attacked), {"centre": before})
        assert (step - other).norm() <= 2 * radius / 8 * (1 + 1e-6)


def test_a_wide_radius_is_the_plain_mean(cohort) -> None:
    sent = cohort(ROWS)
    wide = BASE.but(norm_bound=100.0).parts.strategy
    memory: dict[str, torch.Tensor] = {}
    for _ in range(2):
        assert wide.step(sent.updates, sent, memory).item() == pytest.approx(-6.5 / 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_not_finite_counts_as_the_centre(cohort, value) -> None:
    sent = cohort([[0.5], [value], [0.7]])
    memory = {"centre": torch.tensor([0.2], dtype=torch.float64)}
    made = BASE.parts.strategy.step(sent.updates, sent, memory)
    assert made.item() == pytest.approx((0.5 + 0.2 + 0.7) / 3)
    only = cohort([[value]] * 3)
    assert not BASE.parts.strategy.step(only.updates, only, {}).isfinite().any()
