from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.data.checks import build, check_images, check_labels, digest
from fedcore.data.dataset import Split
from fedcore.errors import DataError


def arrays(**changes: Any) -> dict[str, Any]:
    """Four training and two test images of 5x3 pixels, two classes."""
    good = {
        "train_images": np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
        "train_labels": np.array([[0], [1], [1], [0]], np.uint8),
        "test_images": np.zeros((2, 5, 3), np.uint8),
        "test_labels": np.array([0, 1]),
    }
    return {**good, **changes}


def message(**changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        build("npz:a.npz", arrays(**changes), "a.npz")
    return str(caught.value)


def test_good_arrays() -> None:
    dataset = build("npz:a.npz", arrays(), "a.npz", notes=("rebuilt",))
    assert dataset.train.images.shape == (4, 5, 3, 1)
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.images[0, :, :, 0].tolist() == [
        [3 * r, 3 * r + 1, 3 * r + 2] for r in range(5)
    ]
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels.tolist() == [0, 1, 1, 0]
    assert (dataset.num_classes, dataset.channels, dataset.image_shape) == (2, 1, (5, 3))
    assert dataset.notes == ("rebuilt",)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"train_images": np.zeros((4, 15), np.uint8)}, ["train_images", "[4, 15]"]),
        ({"train_images": np.zeros((4, 3, 5, 5), np.uint8)}, ["[4, 3, 5, 5]", "channels last"]),
        ({"train_images": np.zeros((0, 5, 3), np.uint8)}, ["at least one image", "[0, 5, 3]"]),
        ({"test_images": np.zeros((2, 0, 3), np.uint8)}, ["test_images", "one pixel"]),
        ({"train_images": np.zeros((4, 5, 3), np.int64)}, ["uint8", "int64", "store them"]),
        ({"train_images": np.zeros((4, 5, 3), bool)}, ["uint8", "bool"]),
        ({"train_images": np.full((4, 5, 3), 1.5)}, ["[0, 1]", "[1.5, 1.5]", "rescale"]),
        ({"train_images": np.full((4, 5, 3), -0.5)}, ["[0, 1]", "[-0.5, -0.5]"]),
        ({"train_images": np.full((4, 5, 3), np.nan)}, ["finite", "60 of 60"]),
        ({"train_labels": np.zeros(3, int)}, ["train_labels", "3 labels for 4 images"]),
        ({"train_labels": np.zeros((4, 14), int)}, ["[4, 14]", "several labels"]),
        ({"train_labels": np.array([0, 0.5, 1, 1.25])}, ["whole numbers", "0.5 and 1 more"]),
        ({"train_labels": np.array([0, np.nan, 1, 1])}, ["whole numbers", "nan"]),
        ({"train_labels": np.array(["a", "b", "a", "b"])}, ["whole numbers", "<U1"]),
        ({"train_labels": np.array([0, -1, 1, 1])}, [">= 0", "got -1"]),
        ({"train_labels": np.array([0, 1, 1, 2**64 - 1], np.uint64)}, ["<= 2147483647"]),
        ({"train_labels": np.array([0.0, 1.0, 1.0, 1e300])}, ["<= 2147483647", "1e+300"]),
        ({"train_labels": np.array([0, 1, 1, 5])}, ["every class", "class 2", "without gaps"]),
        ({"train_labels": np.array([1, 2, 2, 1]), "test_labels": np.array([1, 2])}, ["class 0"]),
        ({"train_labels": np.zeros(4), "test_labels": np.zeros(2)}, ["at least 2 classes"]),
        ({"test_images": np.zeros((2, 5, 3, 3), np.uint8)}, ["[5, 3, 1] in train", "[5, 3, 3]"]),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Any], parts: list[str]) -> None:
    text = message(**changes)
    assert text.startswith("a.npz")
    for part in parts:
        assert part in text


def test_non_finite_pixels_are_counted() -> None:
    images = np.zeros((4, 5, 3), np.float32)
    images[0, 0, 0], images[1, 2, 2] = np.nan, np.inf
    assert "got 2 of 60 that are NaN or infinite" in message(train_images=images)


def test_a_publishers_class_count_bounds_the_labels_and_allows_gaps() -> None:
    assert build("x", arrays(), "x", num_classes=5).num_classes == 5
    with pytest.raises(DataError, match="must be <= 1, got 2"):
        build("x", arrays(test_labels=np.array([0, 2])), "x", num_classes=2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(levels=st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_floats_give_their_levels_back(dtype: type[np.floating[Any]], levels: list[int]) -> None:
    pixels = (np.array(levels) / 255).astype(dtype).reshape(1, 1, -1)
    assert check_images(pixels, "x").flatten().tolist() == levels


def test_floats_are_rounded_to_the_nearest_level() -> None:
    # 0.0039 * 255 = 0.99, 0.002 * 255 = 0.51, 0.0019 * 255 = 0.48
    assert check_images(np.array([[[0.0039, 0.002, 0.0019]]]), "x").flatten().tolist() == [1, 1, 0]


@given(
    labels=st.lists(st.integers(0, 9), min_size=1), kind=st.sampled_from("biuf"), flat=st.booleans()
)
def test_labels_of_any_type_and_shape(labels: list[int], kind: str, flat: bool) -> None:
    dtype = {"b": bool, "i": ">i4", "u": np.uint8, "f": np.float32}[kind]
    given_labels = np.array(labels, dtype)
    checked = check_labels(given_labels if flat else given_labels[:, None], "x", count=len(labels))
    assert checked.tolist() == [int(value) for value in given_labels]


def test_images_out_of_order_in_memory() -> None:
    images = np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    assert check_images(images, "x").flatten().tolist() == list(range(24))


def test_digest_covers_everything() -> None:
    images, labels = torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 1])
    split = Split(images, labels)
    both = (b"(2, 1, 1, 1)\0\0(2,)" + bytes(8) + b"\1" + bytes(7)) * 2
    assert digest(split, split) == hashlib.sha256(both).hexdigest()[:16]
    others = [Split(images + 1, labels), Split(images, labels.flip(0))]
    others.append(Split(images.view(1, 2, 1, 1), labels))
    digests = {digest(a, b) for other in others for a, b in ((split, other), (other, split))}
    assert len(digests | {digest(split, split)}) == 7
