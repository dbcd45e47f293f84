from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.scenario import Scenario
from fedcore.strategies.robust import monna
from fedcore.strategies.robust.monna import MoNNA

TWO_OF_FIVE = Scenario(strategy="monna", num_clients=5, fraction_train=1.0, num_byzantine=2)
ROWS = [[4.0], [1.0], [-2.0], [5.0], [6.0]]


def test_by_hand(held) -> None:
    """Nearest 0: 1, -2, 4; then nearest their mean, 1: 1, and of 4 and -2 and 5 the first two."""
    step, memory = held(TWO_OF_FIVE, ROWS, samples=[1, 1, 1, 1, 90])  # unweighted
    assert step.item() == pytest.approx(1)
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0, 0))
    by_median, _ = held(TWO_OF_FIVE.but(pivot="median"), ROWS)
    assert by_median.item() == pytest.approx((4 + 5 + 6) / 3)  # nearest 4
    trusted, _ = held(TWO_OF_FIVE.but(pivot="first"), [ROWS[1], ROWS[0], *ROWS[2:]])
    assert trusted.item() == pytest.approx(1)  # nearest 1: 1, 4, -2


def test_the_last_step_is_the_pivot_of_the_next(cohort) -> None:
    rule, memory = TWO_OF_FIVE.parts.strategy, {}
    first = cohort([[1.0], [1.0], [1.0], [5.0], [5.0]])
    assert rule.step(first.updates, first, memory).item() == 1
    second = cohort([[0.9], [1.2], [-0.1], [0.1], [1.3]])  # nearest 0: -0.1, 0.1, 0.9
    assert rule.step(second.updates, second, memory).item() == pytest.approx(3.4 / 3)
    assert rule.step(second.updates, second, {}).item() == pytest.approx(0.3)


def test_a_trusted_client_that_is_malicious_wins(held) -> None:
    """ByzFL's pivot is its first vector, which is presumed correct; here it may be anybody's."""
    rows = [[1e6], [1e6], [1.0], [2.0], [3.0]]
    step, _ = held(TWO_OF_FIVE.but(pivot="first"), rows)
    assert step.item() > 6e5
    for pivot in ("last", "median"):
        step, _ = held(TWO_OF_FIVE.but(pivot=pivot), rows)
        assert step.item() == pytest.approx(2)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(-1e9, 1e9), st.sampled_from(["last", "median"]))
def test_nothing_kept_is_further_from_the_pivot_than_the_furthest_benign(
    held, seed, size, pivot
) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 3)))
    rows[:2] += size
    step, _ = held(TWO_OF_FIVE.but(pivot=pivot), rows)
    point = torch.zeros(3) if pivot == "last" else rows.median(dim=0).values
    assert (step - point).norm() <= (rows[2:] - point).norm(dim=1).max() * (1 + 1e-9)


def test_a_trusted_client_that_is_not_finite_is_replaced_by_the_median(held) -> None:
    rows = [[float("nan")], [1.0], [2.0], [2.5], [9.0]]
    step, memory = held(TWO_OF_FIVE.but(pivot="first"), rows)
    assert step.item() == pytest.approx(5.5 / 3)
    assert memory.noted.coefficients[0] == 0


@pytest.mark.parametrize("pivot", ["last", "median", "first"])
@pytest.mark.parametrize("width", [150, 5000])
def test_one_that_keeps_the_furthest_is_refused(held, monkeypatch, pivot, width) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, width)))
    rows[3:] += 1.0
    scenario = TWO_OF_FIVE.but(pivot=pivot)
    held(scenario, rows, rounds=2)
    monkeypatch.setattr(
        monna, "lengths", lambda rows, origin: -(rows - origin).norm(dim=1).double()
    )
    message = "leaves out an update that is nearer the pivot|distances from the median are others"
    with pytest.raises(IdentityError, match=message):
        held(scenario, rows)


def test_one_that_keeps_no_pivot_is_refused(held, monkeypatch) -> None:
    rightly = MoNNA.step
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 9)))
    monkeypatch.setattr(
        MoNNA, "step", lambda self, rows, cohort, _: rightly(self, rows, cohort, {})
    )
    with pytest.raises(IdentityError, match=r"does not say whom it chose|keeps no 'centre'"):
        held(TWO_OF_FIVE, rows)


def test_other_rows_than_those_nearest_a_median_are_refused(held, monkeypatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 3000)))
    rows[0] += 1
    scenario = TWO_OF_FIVE.but(pivot="median")
    held(scenario, rows)
    real = monna.mean_of
    monkeypatch.setattr(monna, "mean_of", lambda rows, _, kept: real(rows, [0, 1, 2], kept))
    with pytest.raises(IdentityError, match="leaves out an update that is nearer the pivot"):
        held(scenario, rows)
