"""Moderated variances against limma's formulas, and intervals over cells against rliable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedcore.harness.statistics.bootstrap import expanded, mean_over_cells, resampled_means
from fedcore.harness.statistics.estimates import Noise, estimate


def limma(values: np.ndarray, d0: float, s0: float) -> tuple[float, float, float]:
    """(posterior variance, moderated t, degrees of freedom) of one gene, v = 1 / n.

    Smyth 2004, "Linear Models and Empirical Bayes Methods for Assessing Differential Expression
    in Microarray Experiments", section 3: s~^2 = (d0 s0^2 + d s^2) / (d0 + d), t~ = beta /
    (s~ sqrt(v)), on d0 + d degrees of freedom.
    """
    n = len(values)
    d = n - 1
    posterior = (d0 * s0**2 + d * values.var(ddof=1)) / (d0 + d)
    return posterior, values.mean() / math.sqrt(posterior / n), d0 + d


def test_a_gene_by_hand() -> None:
    # s^2 = 4 on 3 degrees of freedom, s0^2 = 1 on 4: (4 + 12) / 7; mean 3, n = 4
    values = np.array([3 - math.sqrt(6), 3.0, 3.0, 3 + math.sqrt(6)])
    assert values.var(ddof=1) == pytest.approx(4)
    posterior, t, df = limma(values, 4, 1.0)
    assert (posterior, df) == (pytest.approx(16 / 7), 7)
    assert t == pytest.approx(3 / math.sqrt(4 / 7))  # 3.9686
    found = estimate(values.tolist(), Noise(1.0, 4))
    assert found.half_width == pytest.approx(1.894579 * math.sqrt(4 / 7), abs=1e-6)


@pytest.mark.parametrize(("d0", "s0"), [(0.5, 1.0), (4.0, 2.2), (16.0, 0.3)])
def test_the_interval_is_limmas(d0: float, s0: float) -> None:
    values = np.array([-3.2, -0.4, -2.0])
    _, t, df = limma(values, d0, s0)
    reach = values.mean() / t * stats.t.ppf(0.95, df)
    assert estimate(values.tolist(), Noise(s0, d0)).half_width == pytest.approx(abs(reach))


def test_its_limits() -> None:
    values = [1.0, 2.0, 4.0]
    assert limma(np.array(values), 0, 9.0)[0] == pytest.approx(np.var(values, ddof=1))
    assert limma(np.array(values), 1e9, 3.0)[0] == pytest.approx(9)
    wide, narrow = (estimate(values, Noise(sd, 4)).half_width for sd in (5.0, 0.5))
    assert wide > estimate(values, Noise(1.0, 0), 0.5).half_width > narrow / 3


@pytest.mark.parametrize(("n", "d0"), [(2, 4.0), (3, 4.0), (6, 2.0)])
def test_under_smyths_model_the_moderated_t_is_a_t(n: int, d0: float) -> None:
    """Section 4: where variances are drawn from the prior, t~ has a t distribution on d0 + d."""
    trials, s0 = 4000, 2.2
    generator = np.random.default_rng(int(n + d0))
    sd = s0 * np.sqrt(d0 / generator.chisquare(d0, trials))
    draws = generator.normal(0, sd[:, None], (trials, n))
    t = np.array([limma(row, d0, s0)[1] for row in draws])
    assert stats.kstest(t, stats.t(d0 + n - 1).cdf).pvalue > 0.01
    # and s^2 has s0^2 times an F distribution on d, d0, which the pooled spread rests on
    assert stats.kstest(draws.var(axis=1, ddof=1) / s0**2, stats.f(n - 1, d0).cdf).pvalue > 0.01


#: Drops in percentage points of 8 seeds in 3 cells, which move together.
DROPS = np.array(
    [
        [10.9, 10.1, 11.8], [7.7, 6.9, 8.0], [12.7, 11.4, 12.6], [11.9, 13.7, 12.8],
        [4.0, 3.5, 5.4], [5.9, 5.7, 5.7], [10.9, 10.7, 10.8], [9.5, 11.2, 8.6],
    ]
)  # fmt: skip
#: `rliable.library.get_interval_estimates` of these, aggregate the mean, 100,000 resamples,
#: RandomState(0): (level, one task, three tasks). rliable 1.2.0 needs arch < 8, which does not
#: import beside pandas 3; so made once, with arch 7.2.0, pandas 2.3.3, numpy 2.4.6, scipy 1.17.1.
RLIABLE = [
    (0.90, (7.475, 10.800), (8.2625, 10.25)),
    (0.95, (7.125, 11.050), (8.0625, 10.4292)),
]
#: The same at the level of `expanded(0.9, 8)`, 0.95717.
RLIABLE_EXPANDED = (7.075, 11.100)
#: What percentiles of 10,000 resamples err by, in points: 3 standard errors at the 2 % tail.
ERROR = 0.1


def percentiles(blocks: np.ndarray, level: float) -> np.ndarray:
    return np.quantile(resampled_means(blocks), [(1 - level) / 2, (1 + level) / 2])


@pytest.mark.parametrize(("level", "one_task", "_"), RLIABLE)
def test_over_one_cell_the_bootstrap_is_rliables(
    level: float, one_task: tuple[float, float], _: object
) -> None:
    assert percentiles(DROPS[:, 0], level) == pytest.approx(one_task, abs=ERROR)


def test_the_interval_itself_is_rliables_at_the_expanded_level() -> None:
    assert expanded(0.9, 8) == pytest.approx(0.957173, abs=1e-6)
    found = mean_over_cells(DROPS[:, :1], 0.9)
    assert (found.mean, found.method) == (pytest.approx(9.1875), "bootstrap")
    assert (found.low, found.high) == pytest.approx(RLIABLE_EXPANDED, abs=ERROR)


@pytest.mark.parametrize(("level", "_", "three_tasks"), RLIABLE)
def test_over_cells_that_move_together_rliable_is_far_too_sure(
    level: float, _: object, three_tasks: tuple[float, float]
) -> None:
    ours = percentiles(DROPS.mean(axis=1), level)
    ratio = (ours[1] - ours[0]) / (three_tasks[1] - three_tasks[0])
    # by hand: the variance of the mean with all covariances against that without them
    covariance = np.cov(DROPS.T)
    assert ratio == pytest.approx(math.sqrt(covariance.sum() / np.trace(covariance)), rel=0.03)
    assert ratio > 1.6  # sqrt(3) for copies


def test_where_cells_are_torn_apart_the_two_agree() -> None:
    # resampled within each cell, as rliable does, these drops give rliable's interval
    generator = np.random.default_rng(0)
    picks = generator.integers(0, 8, (20_000, 8, 3))
    torn = np.take_along_axis(np.broadcast_to(DROPS, picks.shape), picks, axis=1).mean(axis=(1, 2))
    assert np.quantile(torn, [0.05, 0.95]) == pytest.approx(RLIABLE[0][2], abs=ERROR)
