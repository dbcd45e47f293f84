from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.scenario import Scenario
from fedcore.strategies.averaging.fedavg import FedAvg

ONE = Scenario(strategy="normclipping", norm_bound=1.0).parts.strategy


def test_by_hand(cohort) -> None:
    """Norms 5 and 1/2: 1/4 (0.6, 0.8) + 3/4 (0.3, 0.4)."""
    sent = cohort([[3.0, 4.0], [0.3, 0.4]], samples=(1, 3))
    assert ONE.step(sent.updates, sent, {}).tolist() == pytest.approx([0.375, 0.5])


@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_no_step_is_longer_than_the_bound_and_a_large_bound_is_fedavg(cohort, seed, most) -> None:
    rows = torch.from_numpy(10 * np.random.default_rng(seed).standard_normal((5, 3)))
    sent = cohort(rows, samples=(1, 2, 3, 4, 5))
    clipped = Scenario(strategy="normclipping", norm_bound=most).parts.strategy
    assert clipped.step(rows, sent, {}).norm() <= most * (1 + 1e-9)
    if (rows.norm(dim=1) <= most).all():
        plain = FedAvg().step(rows, sent, {})
        torch.testing.assert_close(clipped.step(rows, sent, {}), plain, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_counts_as_zero(cohort, value) -> None:
    sent = cohort([[value, 0.0], [0.6, 0.8]], samples=(3, 1))
    assert ONE.step(sent.updates, sent, {}).tolist() == pytest.approx([0.15, 0.2])
    only = cohort([[value], [value]])
    assert not ONE.step(only.updates, only, {}).isfinite().any()


def test_zero_updates_stay_zero(cohort) -> None:
    sent = cohort([[0.0], [0.0]])
    assert ONE.step(sent.updates, sent, {}).item() == 0.0
