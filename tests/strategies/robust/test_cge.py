from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.scenario import Scenario
from fedcore.strategies.robust import cge

TWO_OF_FIVE = Scenario(strategy="cge", num_clients=5, fraction_train=1.0, num_byzantine=2)
ROWS = [[3.0, 4.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -1.0], [6.0, 8.0]]  # of length 5, 1, 2, 1, 10


def test_by_hand(held) -> None:
    step, memory = held(TWO_OF_FIVE, ROWS, samples=[1, 1, 1, 1, 90])  # unweighted
    assert step.tolist() == pytest.approx([-2 / 3, 0.0])
    assert memory.noted.coefficients == pytest.approx((0.0, 1 / 3, 1 / 3, 1 / 3, 0.0))


def test_it_averages_where_the_paper_adds_up(held) -> None:
    """Gupta and Vaidya, PODC 2020: the sum of the K - f; a factor of the step size."""
    step, _ = held(TWO_OF_FIVE, ROWS)
    kept = torch.tensor(ROWS, dtype=torch.float64)[[1, 2, 3]]
    assert torch.equal(3 * step, kept.sum(dim=0))


def test_ties_go_to_the_first(held) -> None:
    _, memory = held(TWO_OF_FIVE, [[1.0], [-1.0], [1.0], [-1.0], [1.0]])
    assert [c > 0 for c in memory.noted.coefficients] == [True, True, True, False, False]


@given(st.integers(0, 2**31), st.floats(0, 1e6))
def test_no_step_is_longer_than_the_longest_benign_update(held, seed, size) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 3)))
    rows[:2] *= size
    step, _ = held(TWO_OF_FIVE, rows)
    assert step.norm() <= rows[2:].norm(dim=1).max() * (1 + 1e-12)


@pytest.mark.parametrize("width", [3, 5000])
def test_one_that_keeps_the_longest_is_refused(held, monkeypatch, width) -> None:
    monkeypatch.setattr(cge, "lengths", lambda rows, origin: -(rows - origin).norm(dim=1).double())
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, width)))
    rows[:2] *= 3
    with pytest.raises(IdentityError, match=r"keeps an update of length .* and leaves out one of"):
        held(TWO_OF_FIVE, rows)


def test_one_that_drops_too_few_is_refused(held, monkeypatch) -> None:
    monkeypatch.setattr(cge.CGE, "kept", lambda self, clients: clients - 1)
    with pytest.raises(IdentityError, match="it chose 4 clients, not 3"):
        held(TWO_OF_FIVE, ROWS)
