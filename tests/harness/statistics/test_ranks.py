from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from fedcore.harness.statistics.ranks import (
    Rank,
    Worst,
    ranks,
    resample,
    widening,
    worst_columns,
)

SEEDS = st.integers(2, 9)


@st.composite
def tables(draw: st.DrawFn, columns: int | None = None) -> np.ndarray:
    """Values [seeds, arms] or [seeds, arms, columns] of at most two digits."""
    shape = (draw(SEEDS), draw(st.integers(1, 5)), *([] if columns is None else [columns]))
    cells = math.prod(shape)
    values = draw(st.lists(st.integers(0, 40), min_size=cells, max_size=cells))
    return np.array(values, dtype=np.float64).reshape(shape)


def test_two_seeds_by_hand() -> None:
    # resamples of two seeds: both 0 (1/4), one of each (1/2), both 1 (1/4)
    drawn = resample(np.array([[1.0], [3.0]]), 0.9)
    wide = math.sqrt(2) * stdtrit(1, 0.95) / 1.6448536269514722
    assert widening(0.9, 2) == pytest.approx(wide)
    expected = {2 - wide: 0.25, 2.0: 0.5, 2 + wide: 0.25}
    found = dict(zip(drawn.means[:, 0].tolist(), drawn.weights.tolist(), strict=True))
    assert sorted(found) == pytest.approx(sorted(expected))
    assert [found[key] for key in sorted(found)] == pytest.approx([0.25, 0.5, 0.25])


def test_the_weights_of_all_resamples_are_those_of_the_multinomial() -> None:
    drawn = resample(np.arange(4.0)[:, None], 0.9)
    assert len(drawn.weights) == math.comb(2 * 4 - 1, 4) == 35
    assert drawn.weights.sum() == pytest.approx(1)
    # all of one seed: 1 / 4^4; every seed once: 4! / 4^4
    assert min(drawn.weights) == pytest.approx(1 / 256)
    assert max(drawn.weights) == pytest.approx(24 / 256)


def test_all_resamples_agree_with_drawing_each_seed_by_itself() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    plain = [np.mean(chosen) for chosen in itertools.product([1.0, 2.0, 4.0], repeat=3)]
    drawn = resample(values, 0.9)
    variance = drawn.weights @ (drawn.means[:, 0] - 7 / 3) ** 2
    assert variance == pytest.approx(widening(0.9, 3) ** 2 * np.var(plain))


def test_the_interval_of_one_mean_is_as_long_as_students_where_the_values_are_normal() -> None:
    draw = np.random.default_rng(0)
    lengths = []
    for _ in range(200):
        sample = draw.normal(size=(5, 1))
        low, high = (
            worst_columns(sample[:, :, None])[0].low,
            worst_columns(sample[:, :, None])[0].high,
        )
        reach = stdtrit(4, 0.95) * sample.std(ddof=1) / math.sqrt(5)
        lengths.append((high - low) / (2 * reach))
    assert np.mean(lengths) == pytest.approx(1, abs=0.05)


def test_arms_that_are_equal_share_all_of_their_ranks() -> None:
    arm = np.array([80.0, 81.0, 79.5])
    values = np.stack([arm, arm, arm - 30], axis=1)
    assert ranks(values) == (Rank(1, 2), Rank(1, 2), Rank(3, 3))
    assert [str(rank) for rank in ranks(values)] == ["1-2", "1-2", "3"]


def test_arms_far_apart_have_certain_ranks_whatever_all_of_them_share() -> None:
    # the seeds differ by far more than the arms, and for all arms alike: that is paired
    luck = np.array([0.0, 30.0, -30.0, 10.0, 5.0])
    values = luck[:, None] + np.array([50.0, 52.0, 40.0]) + np.eye(5, 3) * 0.2
    assert ranks(values) == (Rank(2, 2), Rank(1, 1), Rank(3, 3))


def test_unpaired_resampling_could_not_tell_them_apart() -> None:
    luck = np.array([0.0, 30.0, -30.0, 10.0, 5.0])
    other = luck[[2, 0, 1, 4, 3]]  # the same numbers, but not the same seeds
    values = np.stack([luck + 50, other + 52], axis=1)
    assert ranks(values) == (Rank(1, 2), Rank(1, 2))


def test_with_columns_the_worst_one_is_ranked() -> None:
    # the first arm is better under one attack and far worse under the other
    values = np.array([[[90.0, 30.0], [60.0, 55.0]]] * 4) + np.arange(4.0)[:, None, None]
    assert ranks(values) == (Rank(2, 2), Rank(1, 1))
    assert ranks(values[:, :, 0]) == (Rank(1, 1), Rank(2, 2))


def test_one_seed_says_nothing_about_an_order() -> None:
    assert ranks(np.array([[10.0, 90.0]])) == (Rank(1, 2), Rank(1, 2))
    assert worst_columns(np.array([[[10.0, 90.0]]])) == (Worst(10.0, None, None, (0,)),)


def test_the_worst_column_by_hand_and_the_doubt_about_which_it_is() -> None:
    clear = np.array([[[80.0, 30.0, 70.0]], [[82.0, 31.0, 72.0]], [[81.0, 32.0, 71.0]]])
    (worst,) = worst_columns(clear)
    assert (worst.mean, worst.columns) == (31.0, (1,))
    assert worst.low < 31 < worst.high
    close = np.array([[[80.0, 30.0, 31.0]], [[82.0, 33.0, 29.0]], [[81.0, 31.0, 33.0]]])
    (worst,) = worst_columns(close)
    assert worst.columns == (2, 1)
    assert worst.mean == 31.0


def test_values_that_are_not_finite_are_refused() -> None:
    for values in (np.array([[math.nan, 1.0]]), np.zeros((0, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match="finite values"):
            ranks(values)


def test_the_order_of_many_seeds_does_not_matter_either() -> None:
    values = np.random.default_rng(1).normal(size=(12, 4))
    order = np.random.default_rng(2).permutation(12)
    assert np.array_equal(resample(values).means, resample(values[order]).means)
    assert ranks(values) == ranks(values[order])


@given(tables(), st.randoms())
def test_the_order_of_the_seeds_does_not_matter(values: np.ndarray, random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    assert ranks(values[order]) == ranks(values)


@given(tables(), st.randoms())
def test_ranks_move_with_their_arms(values: np.ndarray, random: object) -> None:
    order = list(range(values.shape[1]))
    random.shuffle(order)
    expected = ranks(values)
    assert ranks(values[:, order]) == tuple(expected[arm] for arm in order)


@given(tables())
def test_what_is_added_to_all_arms_of_a_seed_changes_no_rank(values: np.ndarray) -> None:
    luck = 10.0 * np.arange(len(values))[:, None] ** 2
    if len(values) <= 7:  # with more seeds the drawn resamples go by the order of the values
        assert ranks(values + luck) == ranks(values)


@given(tables())
def test_an_interval_holds_the_observed_rank(values: np.ndarray) -> None:
    means = values.mean(axis=0)
    for arm, rank in enumerate(ranks(values)):
        ahead = int((means > means[arm] + 1e-9).sum())
        level = int((means >= means[arm] - 1e-9).sum())
        assert 1 <= rank.best <= level
        assert ahead + 1 <= rank.worst <= values.shape[1]
        assert rank.best <= rank.worst


@given(tables(columns=3))
def test_the_worst_case_lies_in_its_interval_and_is_the_first_of_its_columns(
    values: np.ndarray,
) -> None:
    for arm, worst in enumerate(worst_columns(values)):
        means = values[:, arm].mean(axis=0)
        assert worst.mean == pytest.approx(means.min())
        assert means[worst.columns[0]] == pytest.approx(means.min())
        assert worst.low <= worst.mean + 1e-9
        assert worst.high >= worst.low
