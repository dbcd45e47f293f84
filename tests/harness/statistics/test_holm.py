from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.harness.statistics.holm import holm


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
