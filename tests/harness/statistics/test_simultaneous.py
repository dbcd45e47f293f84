from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcore.harness.statistics.looks import LOOKS, level
from fedcore.harness.statistics.simultaneous import seeds_needed, simultaneous

FIVE = np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 4.0], [4.0, 4.0], [5.0, 10.0]])


def test_intervals_of_five_seeds_by_hand() -> None:
    found = simultaneous(FIVE, 5)
    t = stats.t.ppf(1 - level(5) / 2, 4)
    assert found.mean == pytest.approx((3.0, 4.0))
    assert found.sd == pytest.approx((math.sqrt(2.5), math.sqrt(14)))
    assert found.each[0] == pytest.approx((3 - t * math.sqrt(0.5), 3 + t * math.sqrt(0.5)))
    assert found.each[1] == pytest.approx((4 - t * math.sqrt(2.8), 4 + t * math.sqrt(2.8)))
    wider = stats.t.ppf(1 - level(5) / 4, 4)
    assert found.together[0][1] == pytest.approx(3 + wider * math.sqrt(0.5))
    assert (found.level, found.confidence, found.seeds) == (level(5), 0.95, 5)


def test_the_family_sets_how_much_wider_all_together_are() -> None:
    alone = simultaneous(FIVE, 5, family=1)
    assert alone.together == alone.each
    assert simultaneous(FIVE, 5).together == simultaneous(FIVE, 5, family=2).together
    low, high = simultaneous(FIVE, 5, family=8).together[0]
    assert low < alone.together[0][0] < alone.together[0][1] < high


@given(st.floats(-100, 100), st.floats(0.1, 100))
def test_intervals_move_and_stretch_with_the_values(shift: float, scale: float) -> None:
    one, other = simultaneous(FIVE, 10), simultaneous(scale * FIVE + shift, 10)
    for spans, moved in ((one.each, other.each), (one.together, other.together)):
        assert np.array(moved) == pytest.approx(scale * np.array(spans) + shift, abs=1e-8)


def test_a_contrast_without_spread_has_no_length() -> None:
    found = simultaneous(np.column_stack([FIVE[:, 0], np.full(5, 0.1 + 0.2)]), 5)
    assert found.each[1] == found.together[1] == pytest.approx((0.3, 0.3))
    assert found.sd[1] == 0


def test_a_single_seed_says_nothing() -> None:
    found = simultaneous(np.array([[5.0, 1.0]]), 5)
    assert found.each == found.together == ((-math.inf, math.inf),) * 2
    assert found.mean == (5.0, 1.0)


@pytest.mark.parametrize("values", [[[math.nan]], [[math.inf]], [], [[]], [1.0, 2.0]])
def test_what_is_no_table_of_finite_values_is_refused(values: list[object]) -> None:
    with pytest.raises(ValueError, match="finite values of"):
        simultaneous(np.array(values, dtype=float), 5)


@pytest.mark.parametrize(("sd", "distance"), [(1.0, 3.0), (1.0, 1.0), (1.0, 0.6), (2.0, 0.5)])
def test_seeds_needed_find_the_effect_as_often_as_is_said(sd: float, distance: float) -> None:
    n = seeds_needed(sd, distance)
    error = level(n if n in LOOKS else LOOKS[-1])
    generator = np.random.default_rng(1)
    values = generator.normal(distance, sd, (4000, n))
    low = values.mean(axis=1) - stats.t.ppf(1 - error / 2, n - 1) * stats.sem(values, axis=1)
    found = (low > 0).mean()
    assert found >= 0.78
    if n > LOOKS[-1]:
        assert found <= 0.83  # no more seeds than that takes


def test_seeds_needed_are_looks_or_beyond_them() -> None:
    assert seeds_needed(0.0, 1.0) == 5
    assert seeds_needed(1.0, 1.0) in LOOKS
    assert seeds_needed(10.0, 1.0) > 80
    with pytest.raises(ValueError, match="distance must be > 0 and sd >= 0, got 0 and 1"):
        seeds_needed(1.0, 0.0)
