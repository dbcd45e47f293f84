"""The statistics of the gates, of baselines and of claims against scipy and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import costs, drop, slope
from fedcore.harness.claims.rule import Row, decide
from fedcore.harness.statistics.estimates import CellVerdict, Noise, confidence, estimate, judge
from fedcore.harness.statistics.holm import holm
from fedcore.harness.statistics.looks import level
from fedcore.harness.statistics.simultaneous import simultaneous
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
def test_intervals_of_all_contrasts_are_bonferronis(contrasts: int) -> None:
    values = np.random.default_rng(1).normal(2, 1, (5, contrasts))
    found = simultaneous(values, 5)
    described = weightstats.DescrStatsW(values)
    for spans, family in ((found.each, 1), (found.together, contrasts)):
        theirs = np.array(described.tconfint_mean(alpha=level(5) / family)).T
        assert np.array(spans) == pytest.approx(theirs)


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


@pytest.mark.parametrize("margin", [0.5, 2.0, 3.0, 4.0, 5.0, 9.0])
@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_claim_of_one_contrast_is_one_sided_tests(margin: float, below: bool, sign: int) -> None:
    poisoned = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=1.0)
    contrast = costs("drop", poisoned)
    claim = Claim("c", "s", (contrast,), 5, margin=margin, below=below)
    values = sign * DROP[:5]
    described = weightstats.DescrStatsW(values)

    def shown(limit: float, side: str) -> bool:
        return bool(described.ttest_mean(limit, alternative=side)[1] <= level(5) / 2)

    supported = shown(margin, "smaller" if below else "larger")
    refuted = shown(margin, "larger") if below else shown(-margin, "smaller")
    both, _, _ = weightstats.DescrStatsW(values).ttost_mean(-margin, margin)
    spans = simultaneous(values[:, None], 5)
    row = Row(contrast, "both", tuple(values), spans.mean[0], spans.sd[0], spans.each[0],
              spans.together[0])  # fmt: skip
    verdict = decide(claim, 10, [row]).verdict
    assert (verdict is ClaimVerdict.SUPPORTED) == supported
    assert (verdict is ClaimVerdict.REFUTED) == refuted
    assert (verdict is ClaimVerdict.EQUIVALENT) == (not below and both <= level(5) / 2)
