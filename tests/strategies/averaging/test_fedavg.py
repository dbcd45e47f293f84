from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedcore.strategies.averaging.fedavg import FedAvg

AVG = FedAvg()


def test_by_hand(cohort) -> None:
    sent = cohort([[4.0, 0.0], [0.0, -8.0]], samples=(3, 1))
    assert AVG.step(sent.updates, sent, {}).tolist() == [3.0, -2.0]


@given(st.integers(0, 2**31), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_is_the_weighted_average_of_numpy(cohort, seed, samples) -> None:
    rows = np.random.default_rng(seed).standard_normal((len(samples), 5))
    sent = cohort(rows.tolist(), samples=samples)
    expected = np.average(rows, axis=0, weights=samples)
    np.testing.assert_allclose(AVG.step(sent.updates, sent, {}).numpy(), expected, atol=1e-12)
