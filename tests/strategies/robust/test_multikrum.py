from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

FIVE = Scenario(strategy="multikrum", num_clients=5, fraction_train=1.0, num_byzantine=1)
LINE = [[0.0], [1.0], [1.5], [2.2], [100.0]]  # by score 1.5, 1.0, 2.2, 0.0, 100


@pytest.mark.parametrize(
    ("m", "mean"), [(1, 1.5), (2, 1.25), (3, 4.7 / 3), (4, 1.175), (None, 1.175)]
)
def test_by_hand(cohort, m, mean) -> None:
    sent = cohort(LINE, samples=(1, 2, 3, 4, 500))  # unweighted
    strategy = FIVE.but(num_selected=m).parts.strategy
    assert strategy.step(sent.updates, sent, {}).item() == pytest.approx(mean)


@given(st.integers(0, 2**31))
def test_of_one_is_krum_bit_for_bit(cohort, seed) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32))
    sent = cohort(rows)
    multi = FIVE.but(num_selected=1).parts.strategy.step(rows, sent, {})
    assert torch.equal(multi, FIVE.but(strategy="krum").parts.strategy.step(rows, sent, {}))


def test_the_mean_of_float64_updates_is_one_of_float64(cohort) -> None:
    sent = cohort(torch.tensor(LINE, dtype=torch.float64))
    made = FIVE.but(num_selected=3).parts.strategy.step(sent.updates, sent, {})
    assert made.item() == pytest.approx(4.7 / 3, rel=1e-15)


def test_one_nan_is_left_out(cohort) -> None:
    sent = cohort([[float("nan")], *LINE[1:]])
    assert FIVE.but(num_selected=3).parts.strategy.step(sent.updates, sent, {}).isfinite().all()


def test_every_broken_precondition_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"num_selected must be <= cohort - f = 4, got 5"):
        FIVE.but(num_selected=5)
    with pytest.raises(ScenarioError, match=r"5 <= 2 \* 2 \+ 2") as caught:
        FIVE.but(num_byzantine=2, num_selected=4)
    assert len(caught.value.problems) == 2
