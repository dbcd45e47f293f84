"""Blended: a fixed pattern, mixed in with a weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.triggers.blended import Blended
from fedcore.errors import ScenarioError
from fedcore.harness.proofs.images import stamped

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)


def test_by_hand() -> None:
    pattern = np.random.default_rng(0).integers(0, 256, (1, 2, 1))
    assert pattern.ravel().tolist() == [217, 163]
    image = np.array([[[[100], [3]]]], np.uint8)
    # 0.2 * 217 + 0.8 * 100 = 123.4 and 0.2 * 163 + 0.8 * 3 = 35.0
    assert Blended().stamp(image).ravel().tolist() == [123, 35]
    # 0.5 * 217 + 0.5 * 100 = 158.5, and halves go to the even level: 158
    assert Blended(weight=0.5).stamp(image).ravel().tolist() == [158, 83]


@given(st.floats(0.01, 0.99), st.integers(0, 5))
def test_it_lies_between_image_and_pattern_and_is_the_same_for_every_image(
    weight: float, seed: int
) -> None:
    trigger = Blended(weight=weight, pattern_seed=seed)
    made = trigger.stamp(IMAGES).astype(float)
    pattern = np.random.default_rng(seed).integers(0, 256, IMAGES.shape[1:])
    low, high = np.minimum(IMAGES, pattern), np.maximum(IMAGES, pattern)
    assert (made >= low - 0.5).all()
    assert (made <= high + 0.5).all()
    gap = weight * (pattern - IMAGES.astype(float))
    assert np.abs(made - IMAGES - gap).max() <= 0.5 + 1e-9
    assert np.array_equal(stamped(trigger, IMAGES), made)
    assert np.array_equal(trigger.stamp(IMAGES[2:3])[0], made[2])


def test_another_seed_is_another_pattern() -> None:
    one, other = (Blended(pattern_seed=seed).stamp(IMAGES) for seed in (0, 1))
    assert (one != other).mean() > 0.9


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_that_blends_nothing_in_or_leaves_nothing_is_refused(weight: float) -> None:
    with pytest.raises(ScenarioError, match="weight must be"):
        Blended(weight=weight)
