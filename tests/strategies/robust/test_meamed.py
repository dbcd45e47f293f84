from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.scenario import Scenario
from fedcore.strategies.robust import meamed

ONE_OF_FIVE = Scenario(strategy="meamed", num_clients=5, fraction_train=1.0, num_byzantine=1)


def test_by_hand(held) -> None:
    """Medians 2 and 0.5: without 10, and without -3."""
    rows = [[1.0, 0.5], [2.0, 0.0], [3.0, 1.0], [10.0, 2.0], [0.0, -3.0]]
    step, _ = held(ONE_OF_FIVE, rows, samples=[1, 1, 1, 90, 1])
    assert step.tolist() == pytest.approx([6 / 4, 3.5 / 4])
    step, _ = held(ONE_OF_FIVE.but(num_byzantine=2), rows)
    assert step.tolist() == pytest.approx([6 / 3, 1.5 / 3])


def test_of_two_equally_near_the_lower_is_taken(cohort) -> None:
    rows = cohort([[0.0], [1.0], [2.0], [3.0], [4.0]])
    for f, mean in ((1, 6 / 4), (2, 6 / 3)):
        rule = ONE_OF_FIVE.parts.strategy.__class__(num_byzantine=f)
        assert rule.step(rows.updates, rows, {}).item() == mean


def test_an_even_cohort_has_the_mean_of_the_middle_two_as_its_median(held) -> None:
    """As in ByzFL (quantile 0.5). By torch.median, which is the lower, 1 would be it, not 3."""
    rows = torch.tensor([[0.0], [1.0], [-1.4], [5.0], [6.0], [7.0]], dtype=torch.float64)
    scenario = ONE_OF_FIVE.but(num_clients=6, num_byzantine=2)
    step, _ = held(scenario, rows)
    assert step.item() == (0 + 1 + 5 + 6) / 4  # nearest 3
    lower = rows[(rows - rows.median()).abs().flatten().argsort()[:4]].mean().item()
    assert lower == (1 + 0 - 1.4 + 5) / 4  # nearest 1
    assert step.item() != lower


@given(st.integers(0, 2**31), st.floats(-1e9, 1e9), st.integers(0, 3))
def test_the_result_is_as_near_the_median_as_the_furthest_benign_value(held, seed, size, f) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((7, 3)))
    rows[:f] += size
    step, _ = held(ONE_OF_FIVE.but(num_clients=7, num_byzantine=f), rows)
    median = rows.median(dim=0).values
    bound = (rows[f:] - median).abs().amax(dim=0)
    assert ((step - median).abs() <= bound * (1 + 1e-9)).all()
    inside = (median >= rows[f:].amin(dim=0)) & (median <= rows[f:].amax(dim=0))
    assert inside.all()


def test_one_that_is_the_trimmed_mean_is_refused(held, monkeypatch) -> None:
    def trimmed(rows: torch.Tensor, count: int) -> torch.Tensor:
        cut = (len(rows) - count + 1) // 2
        return rows.sort(dim=0).values[cut : len(rows) - cut].mean(dim=0)

    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 300)))
    held(ONE_OF_FIVE, rows)
    monkeypatch.setattr(meamed, "mean_around_median", trimmed)
    with pytest.raises(IdentityError, match="does not step by the mean around the median"):
        held(ONE_OF_FIVE, rows)
