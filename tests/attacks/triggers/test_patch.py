"""Patch: a square of one colour at any place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.trigger import Trigger
from fedcore.attacks.triggers.patch import Patch
from fedcore.attacks.triggers.square import Square
from fedcore.components.written import component
from fedcore.harness.proofs.images import stamped

IMAGES = np.random.default_rng(0).integers(0, 200, (4, 6, 7, 3)).astype(np.uint8)


def test_a_coloured_patch_by_hand() -> None:
    image = np.zeros((1, 3, 4, 3), np.uint8)
    made = Patch(size=2, row=1, column=2, color=(255, 255, 0)).stamp(image)
    assert made[0, :, :, 0].tolist() == [[0, 0, 0, 0], [0, 0, 255, 255], [0, 0, 255, 255]]
    assert made[0, 1, 2].tolist() == [255, 255, 0]  # the yellow square of the paper
    assert image.sum() == 0


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 6), st.integers(0, 255))
def test_it_changes_its_place_and_nothing_else(
    size: int, row: int, column: int, level: int
) -> None:
    patch = Patch(size=size, row=row, column=column, color=(level,))
    if patch.data_problems(IMAGES.shape[1:]):
        assert row + size > 6 or column + size > 7
        return
    made = patch.stamp(IMAGES)
    inside = np.zeros((6, 7), np.bool_)
    inside[row : row + size, column : column + size] = True
    assert (made[:, inside] == level).all()
    assert np.array_equal(made[:, ~inside], IMAGES[:, ~inside])
    assert np.array_equal(stamped(patch, IMAGES), made)


def test_in_a_corner_it_is_the_square() -> None:
    square = Square(size=2, at="bottom-right", level=9)
    assert np.array_equal(
        Patch(size=2, row=4, column=5, color=(9,)).stamp(IMAGES), square.stamp(IMAGES)
    )


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (Patch(row=4), "row + size and column + size <= the images' 6x7, got row=4"),
        (Patch(column=5), "got row=0, column=5, size=3"),
        (Patch(color=(1, 2)), "a color of 1 or of the images' 3 levels, got color=(1, 2)"),
        (Patch(color=()), "got color=()"),
    ],
)
def test_what_it_refuses(patch: Trigger, message: str) -> None:
    (problem,) = patch.data_problems((6, 7, 3))
    assert message in problem


def test_its_written_form() -> None:
    text = "backdoor(trigger=patch(size=2, row=1, color=(255, 255, 0)))"
    assert component("attack", text).trigger == Patch(size=2, row=1, color=(255, 255, 0))
