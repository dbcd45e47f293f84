"""The statistics of the gates, of baselines and of claims against scipy and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedcore.harness.claims.claims import Claim, ClaimVerdict, decide
from fedcore.harness.claims.contrasts import costs, drop, slope
from fedcore.harness.statistics.estimates import CellVerdict, Noise, confidence, estimate, judge
from fedcore.harness.statistics.holm import holm
from fedcore.harness.statistics.simultaneous import max_t, simultaneous
from fedcore.scenario import Scenario

pytest.importorskip("statsmodels")
from statsmodels.stats import weightstats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

NO_PRIOR = Noise(1.0, 0)
CLEAN = np.array([92.6, 93.1, 91.8, 94.0, 92.2, 90.9, 93.3])
POISONED = np.array([88.0, 91.2, 85.1, 90.3, 89.9, 84.7, 91.0])
DROP = CLEAN - POISONED


@pytest.mark.parametrize("level", [0.8, 0.9, 0.99])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_intervals_of_a_paired_difference(n: int, level: float) -> None:
    found = estimate(DROP[:n].tolist(), NO_PRIOR, level)
    theirs = weightstats.DescrStatsW(DROP[:n]).tconfint_mean(alpha=1 - level)
    assert (found.low, found.high) == pytest.approx(theirs)
    paired = stats.ttest_rel(CLEAN[:n], POISONED[:n]).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))


@pytest.mark.parametrize(("low", "high"), [(-1, 8), (1, 6.5), (2.5, 6), (0, 5), (3.5, 4.5)])
@pytest.mark.parametrize("looks", [1, 3])
def test_a_two_sided_gate_is_two_one_sided_tests(low: float, high: float, looks: int) -> None:
    # Schuirmann 1987: the 90 % interval lies within the limits where both tests at 5 % reject
    p, _, _ = weightstats.ttost_paired(CLEAN, POISONED, low, high)
    verdict = judge(estimate(DROP.tolist(), NO_PRIOR, confidence(looks)), low, high)
    assert (verdict is CellVerdict.PASS) == (p <= 0.05 / looks)


def test_the_limits_above_tell_passes_from_others() -> None:
    p = [weightstats.ttost_paired(CLEAN, POISONED, *at)[0] for at in ((-1, 8), (3.5, 4.5))]
    assert p[0] < 0.01
    assert p[1] > 0.05


@pytest.mark.parametrize("count", [1, 2, 10, 50])
def test_holm(count: int) -> None:
    generator = np.random.default_rng(count)
    p = np.round(generator.beta(0.4, 4, count), 3)  # many small ones, and ties
    rejected, adjusted, _, _ = multipletests(p, alpha=0.01, method="holm")
    mine = holm(p, np.full(count, 3.0))
    assert mine == pytest.approx(adjusted)
    assert ((mine <= 0.01) == rejected).all()


@pytest.mark.parametrize("contrasts", [1, 3])
def test_few_seeds_have_bonferronis_intervals(contrasts: int) -> None:
    values = np.random.default_rng(1).normal(2, 1, (5, contrasts))
    found = simultaneous(values)
    theirs = weightstats.DescrStatsW(values).tconfint_mean(alpha=0.05 / contrasts)
    assert found.method == "Bonferroni-t"
    assert found.low == pytest.approx(theirs[0])
    assert found.high == pytest.approx(theirs[1])


def correlated(n: int, cov: np.ndarray) -> np.ndarray:
    """[n, k] values whose sample mean is 0 and whose sample covariance is exactly ``cov``."""
    raw = np.random.default_rng(3).standard_normal((n, len(cov)))
    raw -= raw.mean(axis=0)
    whiten = np.linalg.cholesky(np.linalg.inv(np.cov(raw.T).reshape(cov.shape)))
    return raw @ whiten @ np.linalg.cholesky(cov).T


@pytest.mark.parametrize(("contrasts", "rho"), [(2, 0.0), (3, 0.5), (4, 0.9)])
def test_max_t_of_normal_data_is_the_multivariate_ts_quantile(contrasts: int, rho: float) -> None:
    n = 200
    cov = np.full((contrasts, contrasts), rho) + (1 - rho) * np.eye(contrasts)
    found = max_t(correlated(n, cov))
    together = stats.multivariate_t(np.zeros(contrasts), cov, df=n - 1, seed=0)
    inside = together.cdf(np.full(contrasts, found), lower_limit=np.full(contrasts, -found))
    assert inside == pytest.approx(0.95, abs=0.012)
    separate = weightstats.DescrStatsW(correlated(n, cov)[:, 0])
    assert found > separate.tconfint_mean(0.05)[1] * math.sqrt(n)  # more than for one contrast


@pytest.mark.parametrize(
    ("n", "one_drop", "two_drops"),
    [(3, 10.2, 14.4), (5, 5.2, 7.4), (10, 3.1, 4.4), (20, 2.1, 2.9), (30, 1.6, 2.3)],
)
def test_the_minimum_detectable_difference(n: int, one_drop: float, two_drops: float) -> None:
    """Runs deviate by 2.2 points and are not correlated; 5 % two-sided, power 80 %.

    A drop is the difference of two runs, a contrast of two drops has four.
    """
    size = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    for runs, points in ((2, one_drop), (4, two_drops)):
        sd = 2.2 * math.sqrt(runs)
        assert sd * size == pytest.approx(points, abs=0.06)
        values = np.random.default_rng(n).normal(-sd * size, sd, (20_000, n))
        p = stats.ttest_1samp(values, 0, axis=1, alternative="less").pvalue
        assert (p <= 0.025).mean() == pytest.approx(0.8, abs=0.01)


def test_a_slope_is_that_of_a_regression() -> None:
    arms = [Scenario(attack="labelflip", malicious_fraction=f, poison_ratio=1.0)
            for f in (0.1, 0.2, 0.4, 0.5)]  # fmt: skip
    weights = dict(slope([drop(arm) for arm in arms]).terms)
    accuracy = [80.0, 77.5, 60.0, 66.0]
    trend = sum(weights[arm] * value for arm, value in zip(arms, accuracy, strict=True))
    assert trend == pytest.approx(-stats.linregress(range(4), accuracy).slope)


@pytest.mark.parametrize("margin", [-2.0, 0.0, 2.0, 3.0, 4.0, 5.0, 9.0])
@pytest.mark.parametrize("below", [False, True])
def test_a_claim_of_one_contrast_is_a_one_sided_test_on_either_side(
    margin: float, below: bool
) -> None:
    poisoned = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=1.0)
    claim = Claim("c", "s", (costs("drop", poisoned),), 5, margin=margin, below=below)
    described = weightstats.DescrStatsW(DROP[:5])
    larger, smaller = (described.ttest_mean(margin, alternative=side)[1] <= 0.025
                       for side in ("larger", "smaller"))  # fmt: skip
    supported, refuted = (smaller, larger) if below else (larger, smaller)
    verdict = decide(claim, simultaneous(DROP[:5, None]))
    assert (verdict is ClaimVerdict.SUPPORTED) == supported
    assert (verdict is ClaimVerdict.REFUTED) == refuted
