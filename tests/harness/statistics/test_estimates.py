from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fedcore.harness.statistics.estimates import (
    CellVerdict,
    Estimate,
    Noise,
    estimate,
    judge,
    worst,
)

VALUES = st.floats(-100, 100)
SAMPLES = st.lists(VALUES, min_size=1, max_size=8)
LIMITS = st.none() | VALUES
RANK = {CellVerdict.FAIL: 0, CellVerdict.INCONCLUSIVE: 1, CellVerdict.PASS: 2}


def test_moderated_interval_by_hand() -> None:
    # s^2 = 1 on 2 degrees of freedom, s0^2 = 4 on 4: (4 * 4 + 2 * 1) / 6 = 3; 3 / 3 = 1
    found = estimate([1.0, 2.0, 3.0], Noise(sd=2.0, df=4))
    reach = scipy.stats.t.ppf(0.95, 6)
    assert reach == pytest.approx(1.943180, abs=1e-6)
    assert (found.mean, found.seeds, found.confidence) == (2.0, 3, 0.9)
    assert found.low == pytest.approx(2 - reach)
    assert found.high == pytest.approx(2 + reach)
    assert found.half_width == pytest.approx(reach)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_without_prior_it_is_students_interval(confidence: float) -> None:
    values = [3.0, 7.5, 1.25, 4.0, 9.0]
    found = estimate(values, Noise(1.0, 0), confidence)
    reference = scipy.stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_one_seed_leans_on_the_prior_alone() -> None:
    found = estimate([5.0], Noise(2.0, 4))
    assert found.high - 5 == pytest.approx(2 * scipy.stats.t.ppf(0.95, 4))


def test_a_firm_prior_gives_the_normal_interval() -> None:
    found = estimate([1.0, 2.0, 3.0, 10.0], Noise(2.0, 1e9))
    assert found.half_width == pytest.approx(scipy.stats.norm.ppf(0.95) * 2 / math.sqrt(4))


@pytest.mark.parametrize("values", [[], [1.0]])
def test_no_interval_from_nothing(values: list[float]) -> None:
    with pytest.raises(ValueError, match="0 prior degrees of freedom give no interval"):
        estimate(values, Noise(1.0, 0))


@pytest.mark.parametrize(("sd", "df"), [(0, 4), (-1, 4), (1, -1)])
def test_impossible_noise_is_refused(sd: float, df: float) -> None:
    with pytest.raises(ValueError, match="sd > 0 and df >= 0"):
        Noise(sd, df)


@pytest.mark.parametrize(("seeds", "df"), [(2, 4.0), (3, 4.0), (5, 2.0), (5, 0.0)])
def test_each_side_errs_as_often_as_it_says(seeds: int, df: float) -> None:
    trials, nominal, truth, sd = 2000, 0.05, 12.0, 1.5
    generator = np.random.default_rng(20240607)
    # the model of the moderated t: variances are drawn from the prior
    spread = sd * np.sqrt(df / generator.chisquare(df, trials)) if df else np.full(trials, sd)
    draws = generator.normal(truth, spread[:, None], (trials, seeds))
    found = [estimate(row.tolist(), Noise(sd, df)) for row in draws]
    slack = 3 * math.sqrt(nominal * (1 - nominal) / trials)
    for errors in ([e.low > truth for e in found], [e.high < truth for e in found]):
        # a rate far below is wrong as well: the interval would be needlessly wide
        assert np.mean(errors) == pytest.approx(nominal, abs=slack)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (None, 12.0, CellVerdict.PASS),
        (None, 11.0, CellVerdict.PASS),  # the interval may touch the limit
        (None, 10.0, CellVerdict.INCONCLUSIVE),
        (None, 9.0, CellVerdict.INCONCLUSIVE),
        (None, 8.9, CellVerdict.FAIL),
        (8.0, None, CellVerdict.PASS),
        (9.0, None, CellVerdict.PASS),
        (10.0, None, CellVerdict.INCONCLUSIVE),
        (11.0, None, CellVerdict.INCONCLUSIVE),
        (11.1, None, CellVerdict.FAIL),
        (9.0, 11.0, CellVerdict.PASS),
        (9.5, 20.0, CellVerdict.INCONCLUSIVE),
        (0.0, 8.0, CellVerdict.FAIL),  # too good fails as well
        (12.0, 20.0, CellVerdict.FAIL),
        (9.9, 10.1, CellVerdict.INCONCLUSIVE),
        (None, None, CellVerdict.PASS),
    ],
)
def test_regions(low: float | None, high: float | None, verdict: CellVerdict) -> None:
    assert judge(Estimate(10.0, 9.0, 11.0, 0.9, 3), low, high) is verdict


@given(SAMPLES, VALUES, st.floats(0, 50))
def test_higher_values_never_do_worse_against_a_floor(
    values: list[float], floor: float, gain: float
) -> None:
    noise = Noise(1.5, 4)
    before = judge(estimate(values, noise), floor, None)
    after = judge(estimate([v + gain + 1e-9 for v in values], noise), floor, None)
    assert RANK[after] >= RANK[before]


@given(SAMPLES, VALUES, st.floats(0, 50))
def test_a_wider_limit_never_does_worse(values: list[float], limit: float, slack: float) -> None:
    found = estimate(values, Noise(1.5, 4))
    assert RANK[judge(found, None, limit + slack)] >= RANK[judge(found, None, limit)]
    assert RANK[judge(found, limit - slack, None)] >= RANK[judge(found, limit, None)]


@given(SAMPLES, LIMITS, LIMITS)
def test_more_confidence_is_never_surer(
    values: list[float], low: float | None, high: float | None
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    lax, strict = (estimate(values, Noise(1.5, 4), level) for level in (0.8, 0.99))
    assert strict.low <= lax.low <= lax.mean <= lax.high <= strict.high
    verdict = judge(strict, low, high)
    assert verdict in (judge(lax, low, high), CellVerdict.INCONCLUSIVE)


@given(st.permutations([1.0, 2.5, 4.0, 8.0]))
def test_the_order_of_seeds_does_not_matter(values: list[float]) -> None:
    assert estimate(values, Noise(1.5, 4)) == estimate(sorted(values), Noise(1.5, 4))


def test_worst() -> None:
    names = ("ERROR", "VOID", "FAIL", "INCONCLUSIVE", "PASS")
    order = [CellVerdict[name] for name in names]
    for place, verdict in enumerate(order):
        assert worst(order[place:][::-1]) is verdict
    assert worst([]) is CellVerdict.PASS
