from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

MATRICES = stn.arrays(
    np.float64,
    st.tuples(st.integers(3, 12), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6),
)


def by_hand(column: list[float], cut: int) -> float:
    """The mean of a column after removing its least and its greatest, ``cut`` times."""
    left = list(column)
    for _ in range(cut):
        left.remove(min(left))
        left.remove(max(left))
    return math.fsum(left) / len(left)


@given(MATRICES, st.integers(1, 49))
def test_equals_a_loop(cohort, matrix, hundredths) -> None:
    size = len(matrix)
    cut = hundredths * size // 100  # floor in integers
    assume(cut > 0)
    scenario = Scenario(
        strategy="trimmedmean",
        trim_fraction=hundredths / 100,
        num_clients=size,
        fraction_train=1.0,
    )
    sent = cohort(torch.from_numpy(matrix))
    made = scenario.parts.strategy.step(sent.updates, sent, {}).tolist()
    expected = [by_hand(column, cut) for column in matrix.T.tolist()]
    assert made == pytest.approx(expected, abs=1e-6)


def test_trims_both_ends_unweighted(cohort) -> None:
    sent = cohort([[-1e9], [1.0], [2.0], [6.0], [1e9]], samples=(1, 2, 3, 4, 5))
    strategy = Scenario(strategy="trimmedmean").parts.strategy
    assert strategy.step(sent.updates, sent, {}).item() == 3.0  # floor(0.2 * 5) = 1 at each end


def test_that_trims_nobody_is_refused_with_the_formula() -> None:
    with pytest.raises(ScenarioError, match=r"floor\(0\.2 \* 4\) = 0"):
        Scenario(strategy="trimmedmean", num_clients=4, fraction_train=1.0)
    Scenario(strategy="trimmedmean", num_clients=4, fraction_train=1.0, trim_fraction=0.25)


def test_half_is_out_of_range() -> None:
    with pytest.raises(ScenarioError, match=r"trim_fraction must be in \[0, 0\.5\), got 0\.5"):
        Scenario(strategy="trimmedmean", trim_fraction=0.5)
