from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from fedcore.harness.statistics.looks import (
    ERROR,
    LOOKS,
    due,
    level,
    levels,
    obrien_fleming,
    pocock,
)
from fedcore.harness.statistics.simultaneous import simultaneous


def critical(spending: object) -> list[float]:
    return [-float(ndtri(p / 2)) for p in levels((1, 2, 3, 4, 5), spending=spending)]  # type: ignore[arg-type]


def test_boundaries_of_five_even_looks_are_those_in_print() -> None:
    """Two-sided, 5 %: R package ldbounds, vignette of version 2; Lan and DeMets 1983."""
    assert critical(pocock) == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=6e-4)
    printed = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert critical(obrien_fleming) == pytest.approx(printed, abs=6e-4)


def test_the_levels_of_the_claims_looks_by_hand() -> None:
    first = ERROR * math.log(1 + (math.e - 1) / 16)
    assert level(5) == pytest.approx(first)  # at the first look all that may be spent
    assert sum(map(level, LOOKS)) > ERROR > max(map(level, LOOKS))  # looks share seeds
    assert (pocock(1.0), obrien_fleming(1.0)) == pytest.approx((ERROR, ERROR))
    assert levels((7,)) == pytest.approx((ERROR,))  # a single look needs no correction
    with pytest.raises(ValueError, match="a look is at one of 5, 10, 20, 40, 80 seeds, got 7"):
        level(7)
    with pytest.raises(ValueError, match="rising numbers of seeds"):
        levels((5, 5))


@given(st.integers(0, 200))
def test_a_session_has_the_looks_up_to_its_seeds(seeds: int) -> None:
    assert due(seeds) == tuple(n for n in (5, 10, 20, 40, 80) if n <= seeds)


@settings(max_examples=12)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_levels_are_spent_within_the_error(gaps: list[int]) -> None:
    seeds = tuple(int(n) for n in np.cumsum(gaps))
    found = levels(seeds)
    # at a look more is allowed than is spent there: what would have been decided before counts
    spent = [pocock(b / seeds[-1]) - pocock(a / seeds[-1]) for a, b in pairwise((0, *seeds))]
    assert all(a >= b - 1e-9 for a, b in zip(found, spent, strict=True))
    assert all(p <= ERROR + 1e-9 for p in found)


def errors(contrasts: int, rho: float, corrected: bool, repeats: int = 4000) -> float:
    """Share of studies whose intervals, at any of the looks, miss any of the true means, 0."""
    generator = np.random.default_rng(11)
    shared = generator.standard_normal((repeats, LOOKS[-1], 1))
    own = generator.standard_normal((repeats, LOOKS[-1], contrasts))
    values = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    missed = np.zeros(repeats, dtype=bool)
    from scipy.special import stdtrit

    for look in LOOKS:
        some = values[:, :look]
        t = np.abs(some.mean(axis=1)) / (some.std(axis=1, ddof=1) / math.sqrt(look))
        error = level(look) if corrected else ERROR
        missed |= (t > stdtrit(look - 1, 1 - error / 2 / contrasts)).any(axis=1)
    return float(missed.mean())


@pytest.mark.parametrize(("contrasts", "rho"), [(1, 0.0), (4, 0.5)])
def test_the_error_over_all_looks_and_contrasts_is_what_is_said(contrasts: int, rho: float) -> None:
    """And looks without spending have three times as much."""
    noise = 3 * math.sqrt(ERROR * (1 - ERROR) / 4000)
    assert errors(contrasts, rho, corrected=True) <= ERROR + noise
    assert errors(contrasts, rho, corrected=False) > 0.14
    if contrasts == 1:
        assert errors(contrasts, rho, corrected=True) >= ERROR - noise


def test_the_intervals_are_those_of_the_simulation() -> None:
    """`simultaneous` at each look of one study: its spans reach as far as the levels say."""
    from scipy import stats

    values = np.random.default_rng(2).normal(1, 2, (80, 3))
    for look in LOOKS:
        found = simultaneous(values[:look], look)
        sem = stats.sem(values[:look])
        for spans, error in ((found.each, level(look)), (found.together, level(look) / 3)):
            reach = [(high - low) / 2 for low, high in spans]
            assert reach == pytest.approx(sem * stats.t.ppf(1 - error / 2, look - 1))
