from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from fedcore.harness.statistics import simultaneous as module
from fedcore.harness.statistics.simultaneous import max_t, simultaneous

SIX = np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])


def draws(generator: np.random.Generator, n: int, contrasts: int, rho: float) -> np.ndarray:
    """Normal values of variance 1 and correlation ``rho``."""
    shared = generator.standard_normal((n, 1))
    own = generator.standard_normal((n, contrasts))
    return math.sqrt(rho) * shared + math.sqrt(1 - rho) * own


def test_few_seeds_take_bonferronis_t_by_hand() -> None:
    found = simultaneous(np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 4.0]]))
    reach = stats.t.ppf(1 - 0.05 / 4, 2) / math.sqrt(3)
    assert found.method == "Bonferroni-t"
    assert found.mean == pytest.approx((2.0, 2.0))
    assert found.high == pytest.approx((2 + reach, 2 + 2 * reach))
    assert found.low == pytest.approx((2 - reach, 2 - 2 * reach))
    one = simultaneous(SIX[:5])
    assert (one.low[0], one.high[0]) == pytest.approx(
        stats.t.interval(0.95, 4, loc=3, scale=stats.sem(SIX[:5, 0]))
    )


@pytest.mark.parametrize("n", [20, 50, 200])
def test_a_single_contrast_is_close_to_scipys_t_interval(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, size=(n, 1))
    found = simultaneous(values)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values[:, 0]))
    width = found.high[0] - found.low[0]
    assert found.method == "max-t"
    assert 1 - 1e-9 <= width / (high - low) < 1.12
    assert (found.low[0] + found.high[0]) / 2 == pytest.approx(values.mean())


def test_correlated_contrasts_cost_less_than_bonferroni_and_copies_nothing() -> None:
    values = draws(np.random.default_rng(0), 40, 8, 0.95)
    together = simultaneous(values).critical
    assert together < stats.t.ppf(1 - 0.025 / 8, 39)
    copies = np.repeat(values[:, :1], 8, axis=1)
    assert simultaneous(copies).critical == simultaneous(values[:, :1]).critical
    assert together > simultaneous(values[:, :1]).critical


def test_seeds_are_resampled_as_blocks() -> None:
    # each column alone has the same values, so only the pairing tells these two apart
    values = draws(np.random.default_rng(0), 40, 6, 0.98)
    generator = np.random.default_rng(1)
    torn = np.stack([generator.permutation(column) for column in values.T], axis=1)
    assert simultaneous(torn).critical > simultaneous(values).critical + 0.2


def test_the_result_repeats_and_does_not_depend_on_unit_or_sign() -> None:
    values = draws(np.random.default_rng(0), 10, 3, 0.5)
    first, again = simultaneous(values), simultaneous(values)
    assert first == again
    other = simultaneous(-50 * values)
    assert other.critical == pytest.approx(first.critical)
    assert other.low == pytest.approx([-50 * high for high in first.high])


@pytest.mark.parametrize(("contrasts", "rho"), [(1, 0.0), (4, 0.5), (8, 0.8)])
def test_coverage_of_all_contrasts_at_once_with_ten_seeds(
    contrasts: int, rho: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 1000)
    generator, repeats = np.random.default_rng(7), 1500
    covered = 0
    for _ in range(repeats):
        found = simultaneous(draws(generator, 10, contrasts, rho))
        covered += all(low <= 0 <= high for low, high in zip(found.low, found.high, strict=True))
    assert covered / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)


def test_skewed_data_are_covered_where_bonferroni_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 1000)
    generator, repeats, bonferroni = np.random.default_rng(3), 200, stats.t.ppf(1 - 0.025 / 8, 9)
    covered = simply = 0
    for _ in range(repeats):
        values = generator.exponential(size=(10, 8)) - 1
        found = simultaneous(values)
        t = np.abs(values.mean(axis=0)) / (values.std(axis=0, ddof=1) / math.sqrt(10))
        covered += t.max() <= found.critical
        simply += t.max() <= bonferroni
    assert covered / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)
    assert simply / repeats < 0.85


def test_a_contrast_without_spread_has_no_length_and_leaves_the_others_alone() -> None:
    values = draws(np.random.default_rng(0), 10, 2, 0.0)
    constant = np.column_stack([values, np.full(10, 0.1 + 0.2)])
    found = simultaneous(constant)
    assert found.low[2] == found.high[2] == pytest.approx(0.3)
    assert found.critical == simultaneous(values).critical
    assert simultaneous(np.ones((10, 1))).low == (1.0,)


def test_a_single_seed_says_nothing() -> None:
    found = simultaneous(np.array([[5.0, 1.0]]))
    assert (found.low, found.high) == ((-math.inf, -math.inf), (math.inf, math.inf))
    assert (found.mean, found.method) == ((5.0, 1.0), "none")


@pytest.mark.parametrize("values", [[[math.nan]], [[math.inf]], [], [[]], [1.0, 2.0]])
def test_what_is_no_table_of_finite_values_is_refused(values: list[object]) -> None:
    with pytest.raises(ValueError, match="finite values of"):
        simultaneous(np.array(values, dtype=float))


def test_resamples_of_one_seed_alone_count_as_infinite() -> None:
    assert max_t(np.array([[-1.0], [1.0]]) / math.sqrt(2)) == math.inf


def test_ten_thousand_resamples_take_well_under_a_second() -> None:
    values = draws(np.random.default_rng(0), 20, 10, 0.5)
    begun = time.perf_counter()
    simultaneous(values)
    assert time.perf_counter() - begun < 1
