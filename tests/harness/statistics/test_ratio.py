from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.ratio import ratio_estimate

PRIOR = Noise(2.2, 4)
ACCURACIES = st.lists(
    st.tuples(st.floats(20, 100), st.floats(5, 100)), min_size=2, max_size=8, unique=True
)


def test_by_hand() -> None:
    # p - r c for c = 10, 10, 10 and p = 4, 5, 6: deviation 1 for any r, so r = (5 +- reach) / 10
    reach = 2.919986 / math.sqrt(3)  # t of 95 % with 2 degrees of freedom
    found = ratio_estimate([4, 5, 6], [10, 10, 10], Noise(1, 0))
    assert found.mean == 0.5
    assert (found.low, found.high) == pytest.approx(((5 - reach) / 10, (5 + reach) / 10), rel=1e-6)
    assert found.seeds == 3


@given(ACCURACIES, st.sampled_from([PRIOR, Noise(3.1, 8, 5), Noise(1, 0)]))
def test_agrees_with_the_drop_on_whether_anything_was_lost(pairs, prior) -> None:
    clean, poisoned = zip(*pairs, strict=True)
    drop = estimate([c - p for c, p in pairs], prior)
    try:
        kept = ratio_estimate(poisoned, clean, prior)
    except ValueError:
        assert estimate(clean, Noise(1e-9, prior.df, prior.alone)).low <= 1e-6
        return
    assert kept.low <= kept.mean <= kept.high
    if min(abs(drop.low), abs(drop.high)) > 1e-6:
        assert (kept.low <= 1 <= kept.high) == (drop.low <= 0 <= drop.high)


@given(ACCURACIES)
def test_its_ends_are_where_the_moderated_t_just_does_not_reject(pairs) -> None:
    clean, poisoned = zip(*pairs, strict=True)
    try:
        kept = ratio_estimate(poisoned, clean, PRIOR, 0.95)
    except ValueError:
        return
    for end in (kept.low, kept.high):
        found = estimate([p - end * c for c, p in pairs], PRIOR, 0.95)
        assert min(abs(found.low), abs(found.high)) < 1e-6 * max(1.0, found.half_width)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    ("clean", "poisoned", "deviations", "shared"),
    [(92, 88, (1.1, 1.5), 0.5), (78, 64, (7, 8), 0.4), (50, 15, (12, 8), 0.3)],
)
def test_covers_what_it_says_and_misses_alike_on_both_sides(
    seeds, clean, poisoned, deviations, shared
) -> None:
    a, b = deviations
    covariance = [[a * a, shared * a * b], [shared * a * b, b * b]]
    draws = np.random.default_rng(seeds).multivariate_normal(
        (clean, poisoned), covariance, size=(1000, seeds)
    )
    below = above = 0
    for draw in draws:
        try:
            found = ratio_estimate(draw[:, 1], draw[:, 0], Noise(1, 0))
        except ValueError:  # its set has no end, and holds the truth
            continue
        below += found.high < poisoned / clean
        above += found.low > poisoned / clean
    # 5 % of 1000 each, three standard errors of 6.9
    assert 29 <= below <= 71
    assert 29 <= above <= 71


def test_what_has_no_interval_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="2 numerators and 3"):
        ratio_estimate([1, 2], [1, 2, 3], PRIOR)
    with pytest.raises(ValueError, match="1 pairs with 0 prior"):
        ratio_estimate([1], [2], Noise(1, 0))
    with pytest.raises(ValueError, match="reaches 0"):
        ratio_estimate([1, 2, 3], [0.1, 8, 0.1], Noise(1, 0))
    assert ratio_estimate([50], [100], PRIOR).seeds == 1
