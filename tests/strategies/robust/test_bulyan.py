from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from fedcore.strategies.robust.bulyan import around_median, trusted

SEVEN = Scenario(strategy="bulyan", num_clients=7, fraction_train=1.0)
# Krum's choices, of r left by r - 3 neighbours, at least 1: 3 (score 30), 4 (34), 1 (37), then
# 7, as near to 9 as 9 to 7, but nearer to 0; then 9, which is nearer to 1000 than 0 is
LINE = [[0.0], [1.0], [3.0], [4.0], [7.0], [9.0], [1000.0]]


def test_by_hand(cohort) -> None:
    sent = cohort(LINE, samples=(1, 2, 3, 4, 5, 6, 700))  # unweighted
    assert trusted(sent.updates, 1) == [2, 3, 1, 4, 5]
    # of 1 3 4 7 9 the median is 4, then comes 3, then 1 and 7 alike: the lower
    assert SEVEN.parts.strategy.step(sent.updates, sent, {}).item() == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    ("column", "count", "mean"),
    [
        ([-2.0, -2.0, 0.0, 1.0, 1.5], 3, 2.5 / 3),
        ([-1.5, -1.0, 0.0, 2.0, 2.0], 3, -2.5 / 3),
        ([-1.0, 0.0, 1.0], 2, -0.5),  # a tie goes to the lower value
        ([4.0, 1.0, 2.0], 3, 7 / 3),
        ([5.0, 5.0, 5.0, -9.0], 2, 5.0),
        ([5.0, 0.0, 4.0, 1.0], 2, 0.5),  # of the middle two the lower is the median: 1
        ([5.0, 0.0, 4.0, 1.0], 1, 1.0),
    ],
)
def test_values_around_the_median_by_hand(column, count, mean) -> None:
    rows = torch.tensor(column, dtype=torch.float64)[:, None]
    assert around_median(rows, count).item() == pytest.approx(mean)


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=12), st.data())
def test_values_around_the_median_are_those_nearest_to_it(column, data) -> None:
    count = data.draw(st.integers(1, len(column)))
    median = sorted(column)[(len(column) - 1) // 2]  # one of them, as in the paper
    nearest = sorted(column, key=lambda value: (abs(value - median), value))[:count]
    rows = torch.tensor(column, dtype=torch.float64)[:, None]
    assert around_median(rows, count).item() == pytest.approx(np.mean(nearest))


@given(st.integers(0, 2**31), st.sampled_from([1e3, 1e12, float("nan"), float("inf")]))
def test_f_malicious_move_no_coordinate_beyond_the_honest(cohort, seed, value) -> None:
    honest = torch.from_numpy(np.random.default_rng(seed).standard_normal((9, 6)))
    rows = torch.cat([torch.full((2, 6), value, dtype=torch.float64), honest])
    step = SEVEN.but(num_clients=11).parts.strategy.step(rows, cohort(rows), {})
    assert bool((step >= honest.amin(dim=0)).all())
    assert bool((step <= honest.amax(dim=0)).all())


def test_chunks_and_strides(cohort) -> None:
    wide = torch.randn(8, 40_000, generator=torch.Generator().manual_seed(0))
    sent = cohort(wide[:, :39_999])
    made = SEVEN.but(num_clients=8).parts.strategy.step(sent.updates, sent, {})
    chosen = sent.updates[trusted(sent.updates, 1)]
    torch.testing.assert_close(made, around_median(chosen, 4))


@pytest.mark.parametrize(("clients", "f"), [(6, None), (10, 2), (7, 0), (4, 1)])
def test_too_small_a_cohort_is_refused_with_the_formula(clients, f) -> None:
    with pytest.raises(ScenarioError, match=rf"cohort >= 4 f \+ 3 and f >= 1, got {clients} with"):
        SEVEN.but(num_clients=clients, num_byzantine=f)


@pytest.mark.parametrize(("clients", "f"), [(7, 1), (10, 1), (11, 2), (50, 11)])
def test_f_defaults_to_the_largest_admissible(clients, f) -> None:
    scenario = SEVEN.but(num_clients=clients)
    assert len(trusted(torch.randn(clients, 3), f)) == clients - 2 * f
    scenario.but(num_byzantine=f)
    with pytest.raises(ScenarioError):
        scenario.but(num_byzantine=f + 1)
