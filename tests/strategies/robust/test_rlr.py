from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.scenario import Scenario
from fedcore.strategies.robust.rlr import RLR

FIVE = Scenario(strategy="rlr", num_clients=5, fraction_train=1.0, sign_threshold=0.6)
# sums of signs 5, 3, 1, -3, 2, of which 3 are due
ROWS = [
    [1.0, 1.0, 4.0, 1.0, 1.0],
    [2.0, 1.0, 1.0, -1.0, 1.0],
    [3.0, 1.0, 1.0, -1.0, 1.0],
    [4.0, 1.0, -1.0, -1.0, -1.0],
    [5.0, -9.0, -1.0, -1.0, 0.0],
]


def test_by_hand(held) -> None:
    step, _ = held(FIVE, ROWS)
    assert step.tolist() == pytest.approx([3.0, -1.0, -0.8, -0.6, -0.4])
    weighted, _ = held(FIVE, ROWS, samples=[6, 1, 1, 1, 1])  # in the mean, not in the vote
    assert weighted.tolist() == pytest.approx([2.0, 0.0, -2.4, 0.2, -0.7])


def test_a_threshold_that_is_met_is_agreement_and_a_share_of_the_cohort(held) -> None:
    """The authors' scripts give a count, here 3 of 5."""
    above, _ = held(FIVE.but(sign_threshold=0.61), ROWS)
    assert above.tolist() == pytest.approx([3.0, 1.0, -0.8, 0.6, -0.4])


@given(st.integers(0, 2**31))
def test_zero_is_fedavg_and_order_and_unit_do_not_matter(cohort, seed) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 4)))
    sent = cohort(rows, samples=[1, 2, 3, 4, 5])
    mean = sent.weights @ rows
    torch.testing.assert_close(RLR(sign_threshold=0.0).step(rows, sent, {}), mean)
    step = RLR().step(rows, sent, {})
    assert torch.allclose(step.abs(), mean.abs())
    turned = cohort(rows.flip(0), samples=[5, 4, 3, 2, 1])
    torch.testing.assert_close(RLR().step(turned.updates, turned, {}), step)
    torch.testing.assert_close(RLR().step(-2e6 * rows, sent, {}), -2e6 * step)


@given(st.integers(0, 2**31), st.booleans())
def test_steps_are_those_of_the_definition(held, seed, wide) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 400 if wide else 3)))
    for dtype in (torch.float32, torch.float64):
        held(FIVE, rows.to(dtype), samples=[1, 2, 3, 4, 5])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_update_that_is_not_finite_is_left_out_and_casts_no_vote(held, value, dtype) -> None:
    rows = torch.tensor([[1.0, 1.0], [2.0, -1.0], [3.0, 1.0], [value, 0.0], [2.0, 1.0]]).to(dtype)
    step, memory = held(FIVE, rows, samples=[1, 2, 1, 90, 2])
    assert step.tolist() == pytest.approx([12 / 6, -2 / 6])  # votes 4 and 2 of the 3 due
    assert memory.noted.coefficients == pytest.approx((1 / 6, 2 / 6, 1 / 6, 0, 2 / 6))


def test_length_is_not_bounded(held) -> None:
    """One huge update moves the mean; its sign counts once, so that it may be turned back."""
    rows = torch.tensor(ROWS, dtype=torch.float64)
    rows[4] = -1e30
    step, _ = held(FIVE, rows)
    assert (step.abs() > 1e29).all()
    assert step[0] < 0 < step[2]


def test_one_that_does_not_turn_back_is_refused(held, monkeypatch) -> None:
    monkeypatch.setattr(RLR, "step", lambda self, rows, cohort, memory: rows.mean(dim=0))
    with pytest.raises(IdentityError, match="an arm named 'rlr' equals FedAvg's"):
        held(FIVE, ROWS)


def test_one_that_leaves_a_finite_client_out_is_refused(held, monkeypatch) -> None:
    monkeypatch.setattr("fedcore.strategies.robust.rlr.finite_rows", lambda rows: [0, 1, 2, 3])
    with pytest.raises(IdentityError, match="leaves out a client whose update is finite"):
        held(FIVE, ROWS)
