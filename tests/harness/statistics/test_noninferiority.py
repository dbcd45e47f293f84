from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.noninferiority import (
    ALPHA,
    CORRELATION,
    MINIMUM_EFFECT,
    POOLED_DF,
    compare,
    holm,
    one_sided,
    spread,
)

NOISE = Noise(2.0, 4)


def test_holm_by_hand() -> None:
    # the example of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]), np.ones(4))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_weighted_holm_by_hand() -> None:
    # p / w: .02, .08, .04 in the order 0, 2, 1; the weights left are 1, 1/2, 1/4
    adjusted = holm(np.array([0.01, 0.02, 0.01]), np.array([0.5, 0.25, 0.25]))
    assert adjusted == pytest.approx([0.02, 0.02, 0.02])
    adjusted = holm(np.array([0.01, 0.02, 0.015]), np.array([0.5, 0.25, 0.25]))
    assert adjusted == pytest.approx([0.02, 0.03, 0.03])


def rejected_by_closure(p: list[float], weights: list[int], alpha: Fraction) -> set[int]:
    """Weighted Bonferroni in every intersection: the closed test that Holm is a short cut of."""
    every = range(len(p))
    sets = [set(c) for k in every for c in itertools.combinations(every, k + 1)]
    held = [
        s
        for s in sets
        if not any(Fraction(p[i]) * sum(weights[j] for j in s) <= alpha * weights[i] for i in s)
    ]
    return {i for i in every if not any(i in s for s in held)}


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 5)), min_size=1, max_size=5))
def test_holm_is_the_closed_test(cases: list[tuple[int, int]]) -> None:
    p, weights = [a / 64 for a, _ in cases], [w for _, w in cases]
    adjusted = holm(np.array(p), np.array(weights, float))
    for alpha in (0.0987, 0.2987):  # no p times weights comes to these
        found = {i for i, value in enumerate(adjusted) if value <= alpha}
        assert found == rejected_by_closure(p, weights, Fraction(alpha))


def test_without_a_prior_the_test_is_students() -> None:
    values = np.array([[-3.0, -2.0, -4.5], [0.5, 1.0, -0.2]])
    mean, p = one_sided(values, np.ones(2), 0.0)
    assert mean == pytest.approx(values.mean(axis=1))
    wanted = stats.ttest_1samp(values, 0, axis=1, alternative="less").pvalue
    assert p == pytest.approx(wanted)


def test_the_moderated_test_fits_the_interval_of_the_gates() -> None:
    values = [-3.0, -2.5, -5.0]
    _, p = one_sided(np.array(values), np.array(NOISE.sd), NOISE.df)
    # a bound at that confidence just touches 0
    assert estimate(values, NOISE, 1 - 2 * float(p)).high == pytest.approx(0, abs=1e-9)


def test_a_seed_that_one_side_lacks_is_left_out() -> None:
    gap = np.array([-3.0, np.nan, -2.0])
    assert one_sided(gap, np.array(2.0), 4)[1] == one_sided(gap[[0, 2]], np.array(2.0), 4)[1]
    mean, p = one_sided(np.array([-50.0, np.nan]), np.array(2.0), 4)
    assert np.isnan(mean)
    assert p == 1  # of one seed nothing is concluded


def test_the_spread_is_pooled_over_arms() -> None:
    values = np.array([[1.0, 3.0], [5.0, 9.0]])  # squares around the means: 2 and 8
    assert float(spread(values, NOISE)) == pytest.approx(((4 * 4 + 10) / (4 + 2)) ** 0.5)
    assert float(spread(np.full((1, 2), np.nan), NOISE)) == pytest.approx(2)


def test_groups_are_all_arms_then_strategies_then_arms() -> None:
    differences = np.array([[-1.0, -2.0], [-3.0, -4.0], [1.0, 0.0]])
    tests = compare(differences, ["a", "b", "a"], NOISE)
    assert tests.strategies == ("a", "b")
    assert tests.mean == pytest.approx([-1.5, -0.5, -3.5, -1.5, -3.5, 0.5])
    k = 3
    sd = float(tests.sd) * ((1 + (k - 1) * CORRELATION) / k) ** 0.5
    _, p = one_sided(np.array([-1.0, -2.0]), np.array(sd), POOLED_DF)
    assert tests.p[0] == pytest.approx(float(p))


def test_unchanged_arms_bring_no_noise_and_dilute_the_mean() -> None:
    differences = np.zeros((4, 3))
    tests = compare(differences, ["a"] * 4, NOISE)
    assert not tests.worse.any()
    assert float(tests.sd) == NOISE.sd
    differences[0] = -8, -8.1, -7.9
    tests = compare(differences, ["a"] * 4, NOISE)
    assert tests.mean[0] == pytest.approx(-2)
    assert tests.worse[0]


def test_pooled_means_take_the_seeds_that_all_arms_share() -> None:
    differences = np.array([[-1.0, -2.0, -9.0], [-3.0, -4.0, np.nan]])
    assert compare(differences, ["a", "a"], NOISE).mean[0] == pytest.approx(-2.5)
    differences[1] = np.nan  # in no mean at all
    tests = compare(differences, ["a", "a"], NOISE)
    assert tests.mean[0] == pytest.approx(-4)
    assert tests.p[-1] == 1


def test_only_losses_beyond_the_minimum_fail() -> None:
    def worst(loss: float) -> bool:
        found = compare(np.full((30, 9), -loss), ["a"] * 30, Noise(0.1, 4))
        assert found.adjusted.max() < ALPHA
        return bool(found.worse.any())

    assert not worst(MINIMUM_EFFECT - 1e-6)
    assert worst(MINIMUM_EFFECT + 1e-6)
    assert not compare(np.full((30, 9), 20.0), ["a"] * 30, NOISE).worse.any()  # better
