from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

MEDIAN = Scenario(strategy="median").parts.strategy
MATRICES = stn.arrays(
    np.float64,
    st.tuples(st.integers(3, 9), st.integers(1, 6)),
    elements=st.floats(-1e6, 1e6),
)


@given(MATRICES)
def test_is_the_median_of_numpy(cohort, matrix) -> None:
    sent = cohort(torch.from_numpy(matrix))
    np.testing.assert_allclose(
        MEDIAN.step(sent.updates, sent, {}).numpy(), np.median(matrix, axis=0)
    )


def test_is_unweighted_and_ignores_one_huge_update(cohort) -> None:
    sent = cohort([[1.0, 5.0], [2.0, 1e30], [3.0, 4.0]], samples=(1, 10**6, 1))
    assert MEDIAN.step(sent.updates, sent, {}).tolist() == [2.0, 5.0]


def test_one_nan_does_not_spread(cohort) -> None:
    sent = cohort([[1.0], [2.0], [float("nan")]])
    assert MEDIAN.step(sent.updates, sent, {}).item() == 2.0


def test_of_two_clients_is_refused_as_their_mean() -> None:
    with pytest.raises(ScenarioError, match=r"fewer than 3 clients is their mean.*cohort of 2"):
        Scenario(strategy="median", num_clients=4)
    Scenario(strategy="median", num_clients=6)
