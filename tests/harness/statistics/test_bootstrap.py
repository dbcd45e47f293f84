from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcore.harness.statistics.bootstrap import (
    FEWEST_FOR_BOOTSTRAP,
    RESAMPLES,
    expanded,
    mean_over_cells,
    resampled_means,
)


def draws(seeds: int, cells: int, correlation: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((seeds, 1))
    alone = generator.standard_normal((seeds, cells))
    return 10 + math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * alone


def test_three_seeds_by_hand() -> None:
    # block means 1, 2, 6: mean 3, deviation sqrt(7), t(2) at 95 % one-sided 2.919986
    found = mean_over_cells(np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 7.0]]))
    reach = 2.919986 * math.sqrt(7 / 3)
    assert (found.mean, found.method, found.cells, found.seeds) == (3.0, "t", 2, 3)
    assert (found.low, found.high) == pytest.approx((3 - reach, 3 + reach), abs=1e-5)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = mean_over_cells(np.array([[1.0, 2.0]]))
    assert (found.mean, found.low, found.high, found.method) == (1.5, None, None, "none")


@pytest.mark.parametrize("values", [[[math.nan]], [[]], [1.0], []])
def test_what_is_no_table_of_finite_values_is_refused(values: list[object]) -> None:
    with pytest.raises(ValueError, match="finite values of"):
        mean_over_cells(np.array(values, dtype=float))


@pytest.mark.parametrize("n", [3, 10, 40])
def test_the_expanded_level_is_hesterbergs(n: int) -> None:
    tail = (1 - expanded(0.95, n)) / 2
    wanted = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    assert tail == pytest.approx(wanted)
    assert tail < 0.025
    if n == 10:
        assert tail == pytest.approx(0.0086, abs=2e-4)


def test_seeds_are_resampled_whole() -> None:
    # what cells share on a seed stays in the mean: with copies of one cell nothing is gained
    single = draws(12, 1, 0.0)
    copies = mean_over_cells(np.repeat(single, 8, axis=1))
    assert copies.low == pytest.approx(mean_over_cells(single).low)
    # cells that balance each other on every seed leave nothing to be unsure of
    opposed = np.column_stack([single, 20 - single])
    found = mean_over_cells(opposed)
    assert (found.low, found.high) == pytest.approx((10, 10))


def test_resampled_means_have_the_variance_of_a_mean_of_draws() -> None:
    blocks = draws(10, 1, 0.0)[:, 0]
    means = resampled_means(blocks)
    assert means.shape == (RESAMPLES,)
    assert means.mean() == pytest.approx(blocks.mean(), abs=0.02)
    assert means.std() == pytest.approx(blocks.std() / math.sqrt(10), rel=0.03)


@pytest.mark.parametrize(("seeds", "correlation"), [(3, 0.5), (5, 0.9), (6, 0.5), (10, 0.9)])
def test_coverage(seeds: int, correlation: float) -> None:
    repeats = 600
    found = [mean_over_cells(draws(seeds, 6, correlation, r)) for r in range(repeats)]
    covered = np.mean([one.low <= 10 <= one.high for one in found])
    slack = 3 * math.sqrt(0.9 * 0.1 / repeats)
    # at 6 seeds percentiles reach the outermost resamples: somewhat short, and stated so
    assert covered >= 0.9 - slack - (0.02 if seeds >= FEWEST_FOR_BOOTSTRAP else 0)
    assert covered <= 0.9 + slack


@given(st.integers(2, 9), st.integers(1, 4), st.floats(-50, 50), st.floats(0.1, 20))
def test_unit_shift_and_order_change_nothing(
    seeds: int, cells: int, shift: float, scale: float
) -> None:
    values = draws(seeds, cells, 0.3)
    found, moved = mean_over_cells(values), mean_over_cells(scale * values[:, ::-1] + shift)
    assert found.low is not None
    assert moved.low == pytest.approx(scale * found.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * found.high + shift, abs=1e-6)
    assert found == mean_over_cells(values)
