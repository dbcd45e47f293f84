"""Pair flip: an involution, with a fixed point where the number of classes is odd."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.data.pairflip import PairFlip

FLIP = PairFlip(poison_ratio=0.5)
GENERATOR = np.random.default_rng(0)


def test_first_becomes_last() -> None:
    assert FLIP.relabel(np.arange(4), 4, GENERATOR).tolist() == [3, 2, 1, 0]


@given(st.integers(2, 20))
def test_twice_is_nothing_and_only_an_odd_middle_stays(num_classes: int) -> None:
    old = np.arange(num_classes)
    new = FLIP.relabel(old, num_classes, GENERATOR)
    assert np.array_equal(FLIP.relabel(new, num_classes, GENERATOR), old)
    middle = [num_classes // 2] if num_classes % 2 else []
    assert np.flatnonzero(new == old).tolist() == middle


def test_one_class_is_refused() -> None:
    (problem,) = FLIP.data_problems(1, (8, 8, 1))
    assert "pairflip needs at least 2 classes, got 1" in problem
    assert FLIP.data_problems(9, (8, 8, 1)) == []
