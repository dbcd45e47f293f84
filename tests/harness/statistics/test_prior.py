"""The prior of variances against Smyth's formulas by hand, and what moderated intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import polygamma

from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.prior import ALONE, MOST_DF, Priors, Trend, fit, trigamma_inverse

#: digamma(1) = -gamma and trigamma(1) = pi^2 / 6: a variance on 2 degrees of freedom has
#: e = log s^2 + gamma.
GAMMA = 0.5772156649015329


def test_two_degrees_of_freedom_by_hand() -> None:
    # the e are gamma and gamma -+ a: variance a^2 = pi^2 / 3 = trigamma(1) + trigamma(d0 / 2)
    a = math.pi / math.sqrt(3)
    found = fit([math.exp(-a), 1.0, math.exp(a)], [2, 2, 2])
    assert (found.df, found.spread) == (pytest.approx(2), pytest.approx(2))
    # log s0^2 = mean e + digamma(1) - log 1 = gamma - gamma
    assert found.at(0.0).sd == pytest.approx(1.0)
    assert (found.slope, found.cells) == (0.0, 3)


def test_other_degrees_of_freedom_by_hand() -> None:
    # on 4: e = log s^2 - digamma(2) + log 2, digamma(2) = 1 - gamma, trigamma(2) = pi^2 / 6 - 1;
    # all of e's variance beyond that is trigamma(d0 / 2), here pi^2 / 6 - 1 again: d0 = 4
    a = math.sqrt(2 * (math.pi**2 / 6 - 1))
    found = fit([9 * math.exp(-a), 9.0, 9 * math.exp(a)], [4, 4, 4])
    assert found.df == pytest.approx(4)
    assert found.at(0.0).sd == pytest.approx(3.0)  # both shifts cancel: d0 = d


def test_equal_variances_are_worth_no_more_than_the_bound() -> None:
    found = fit([4.0] * 5, [2] * 5)
    assert (found.df, found.spread) == (MOST_DF, math.inf)
    # exp(mean e), as limma: 4 exp(gamma)
    assert found.at(0.0).sd == pytest.approx(2 * math.exp(GAMMA / 2))


def test_variances_of_all_sizes_are_worth_next_to_nothing() -> None:
    found = fit(10.0 ** np.arange(-8, 9.0, 2.0), [2] * 9)
    assert 0 < found.df < 0.25


def test_a_trend_by_hand() -> None:
    # log s^2 = mean / 10 exactly, but for a residual of +-b in pairs: a line of slope 1 / 10
    means = np.repeat(np.arange(12.0), 2)
    b = math.pi / math.sqrt(3) * math.sqrt(22 / 24)  # residual variance, 24 - 2 degrees of freedom
    low, high = np.quantile(means, [0.1, 0.9])
    clipped = means.clip(low, high)
    variances = np.exp(clipped / 10 + b * np.tile([1.0, -1.0], 12))
    found = fit(variances, [2] * 24, means)
    assert found.slope == pytest.approx(0.1)
    assert found.df == pytest.approx(2)
    assert found.at(5.0).sd == pytest.approx(math.exp(0.25))
    assert found.at(-50.0).sd == pytest.approx(math.exp(low / 20))  # not beyond what was seen
    assert found.at(50.0).sd == pytest.approx(math.exp(high / 20))


@pytest.mark.parametrize("d0", [1.0, 4.0])
def test_the_prior_that_variances_were_drawn_from_is_found(d0: float) -> None:
    rng = np.random.default_rng(5)
    sd2 = 9 * d0 / rng.chisquare(d0, 4000)
    found = fit(sd2 * rng.chisquare(2, 4000) / 2, [2] * 4000)
    assert found.df == pytest.approx(d0, rel=0.12)
    assert found.at(0.0).sd == pytest.approx(3, rel=0.06)


@given(st.floats(1e-8, 1e8))
def test_the_inverse_of_trigamma(y: float) -> None:
    assert float(polygamma(1, trigamma_inverse(y))) == pytest.approx(y, rel=1e-5)


@pytest.mark.parametrize("variances", [[1.0, 2.0], [0.0, 0.0, 0.0]])
def test_too_little_gives_no_prior(variances: list[float]) -> None:
    with pytest.raises(ValueError, match="3 variances on >= 1 degree of freedom"):
        fit(variances, [2] * len(variances))


def test_a_stratum_has_its_own_prior_and_others_the_usual_one() -> None:
    usual, trend = Noise(2.2, 4), Trend(0.0, 0.0, 0.0, 90.0, 3.0, 20, 3.0)
    priors = Priors(usual, {("iid", "drop"): trend})
    assert priors.of("iid", "drop", 10) == Noise(1.0, 3.0, ALONE)
    assert priors.of("iid", "control", 10) == Noise(1.0, 3.0, ALONE)  # a drop as well
    assert priors.of("iid", "clean", 10) is usual
    assert priors.of("dirichlet", "drop", 10) is usual


def test_from_five_seeds_on_the_sample_counts_alone() -> None:
    prior = Noise(50.0, 8.0, ALONE)
    values = [1.0, 2.0, 3.0, 4.0, 6.0]
    assert estimate(values, prior) == estimate(values, Noise(1.0, 0.0))
    assert estimate(values[:4], prior).half_width > 5 * estimate(values, prior).half_width
    with pytest.raises(ValueError, match="alone >= 2"):
        Noise(1.0, 1.0, 1)


@pytest.mark.parametrize("sd", [0.4, 17.0])
@pytest.mark.parametrize("seeds", [5, 10])
def test_five_seeds_cover_whatever_the_deviation(sd: float, seeds: int) -> None:
    prior = Trend(math.log(9.0), 0.0, 0.0, 90.0, 8.0, 20).at(50)
    rng = np.random.default_rng(int(10 * sd) + seeds)
    draws = (sd * rng.standard_normal((2500, seeds))).tolist()
    covered = np.mean([e.low <= 0 <= e.high for e in (estimate(row, prior) for row in draws)])
    assert covered == pytest.approx(0.9, abs=0.02)  # 88 to 92 %; 3.3 standard errors


def test_three_seeds_cover_in_the_mean_over_a_stratum() -> None:
    trend = Trend(math.log(9.0), 0.0, 0.0, 90.0, 2.5, 20, 2.5)
    rng = np.random.default_rng(7)
    sds = 3 * np.sqrt(2.5 / rng.chisquare(2.5, 2500))
    draws = (sds[:, None] * rng.standard_normal((2500, 3))).tolist()
    found = [estimate(row, trend.at(50)) for row in draws]
    covered = np.mean([e.low <= 0 <= e.high for e in found])
    assert covered == pytest.approx(0.9, abs=0.02)
