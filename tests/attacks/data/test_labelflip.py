"""Random label flip: never y, uniform over the others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.data.labelflip import LabelFlip

FLIP = LabelFlip(poison_ratio=0.5)


@given(st.integers(2, 12), st.integers(0, 200), st.integers(0, 2**32))
def test_never_the_old_label(num_classes: int, samples: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    old = generator.integers(0, num_classes, samples)
    new = FLIP.relabel(old, num_classes, generator)
    assert new.shape == old.shape
    assert new.dtype == np.int64
    assert (new != old).all()
    assert ((new >= 0) & (new < num_classes)).all()


def test_uniform_over_the_other_classes() -> None:
    for label in range(8):
        old = np.full(7000, label)
        new = FLIP.relabel(old, 8, np.random.default_rng(label))
        counts = np.delete(np.bincount(new, minlength=8), label)
        chi_square = ((counts - 1000) ** 2 / 1000).sum()
        assert chi_square < 22.5  # 6 degrees of freedom: exceeded with probability 0.001


def test_every_sample_is_eligible_and_there_is_no_success_rate() -> None:
    assert FLIP.eligible(np.arange(5)).all()
    assert FLIP.success_classes is None


def test_one_class_is_refused() -> None:
    (problem,) = FLIP.data_problems(1, (8, 8, 1))
    assert problem == "labelflip needs at least 2 classes, got 1: use another data set"
    assert FLIP.data_problems(2, (8, 8, 1)) == []
