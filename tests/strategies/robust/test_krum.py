from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import ServerState
from fedcore.scenario import Scenario

ONE_OF_FIVE = Scenario(strategy="krum", num_clients=5, fraction_train=1.0, num_byzantine=1)
# 5 - 1 - 2 = 2 nearest: scores 3.25, 1.25, 0.74, 1.93, 19130.84; with 3 nearest 1.0 would win
LINE = [[0.0], [1.0], [1.5], [2.2], [100.0]]


def test_by_hand(cohort) -> None:
    sent = cohort(LINE)
    assert ONE_OF_FIVE.parts.strategy.best(sent.updates, 1) == [2]
    assert ONE_OF_FIVE.parts.strategy.step(sent.updates, sent, {}).item() == 1.5


def test_ties_go_to_the_first(cohort) -> None:
    sent = cohort([[3.0], [1.0], [1.0], [1.0], [3.0]])
    strategy = ONE_OF_FIVE.parts.strategy
    chosen = [strategy.best(sent.updates, count) for count in (1, 2, 3, 4)]
    assert chosen == [[1], [1, 2], [1, 2, 3], [0, 1, 2, 3]]


@given(st.integers(0, 2**31), st.integers(0, 6), st.sampled_from([float("nan"), float("inf")]))
def test_never_selects_an_update_that_is_not_finite(cohort, seed, place, value) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((7, 3)))
    rows[place, seed % 3] = value
    strategy = ONE_OF_FIVE.but(num_clients=7).parts.strategy
    sent = cohort(rows)
    assert place not in strategy.best(rows, 6)
    assert torch.isfinite(strategy.step(rows, sent, {})).all()


def test_the_size_of_the_model_does_not_matter(cohort) -> None:
    """Updates, not models: small updates are told apart beside weights of 1e6."""
    updates = (torch.tensor(LINE) * 1e-4).float()
    state = ServerState(torch.full((1,), 1e6), torch.empty(0, dtype=torch.int64))
    strategy = ONE_OF_FIVE.parts.strategy
    sent = cohort(updates)
    strategy.aggregate(state, sent, 1)
    assert torch.equal(strategy.step(updates, sent, {}), updates[2])


@pytest.mark.parametrize(
    ("clients", "f", "formula"),
    [(5, 2, r"5 <= 2 \* 2 \+ 2"), (4, 1, r"4 <= 2 \* 1 \+ 2"), (2, None, r"2 <= 2 \* 0 \+ 2")],
)
def test_too_small_a_cohort_is_refused_with_the_formula(clients, f, formula) -> None:
    with pytest.raises(ScenarioError, match=rf"needs a cohort > 2 f \+ 2, got {formula}"):
        Scenario(strategy="krum", num_clients=clients, fraction_train=1.0, num_byzantine=f)


@pytest.mark.parametrize(("clients", "f"), [(3, 0), (4, 0), (5, 1), (6, 1), (7, 2), (10, 3)])
def test_f_defaults_to_the_largest_admissible(clients, f) -> None:
    scenario = Scenario(strategy="krum", num_clients=clients, fraction_train=1.0)
    assert scenario.parts.strategy.tolerated(clients) == f
    with pytest.raises(ScenarioError):
        scenario.but(num_byzantine=f + 1)
