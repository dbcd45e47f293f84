"""Images in both splits: counted exactly, told, and refused where they are many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.data import duplicates
from fedcore.data.dataset import Split
from fedcore.data.duplicates import ACCEPT, duplicate_notes
from fedcore.data.loading import load
from fedcore.errors import DataError

RNG = np.random.default_rng(0)


def split(images: np.ndarray, labels: np.ndarray | list[int]) -> Split:
    return Split(torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64))


def noise(count: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape), np.uint8)


def counted(train: Split, test: Split) -> tuple[int, int, int]:
    """(in both splits, of these under another label, blank ones in both), one by one."""
    known: dict[bytes, set[int]] = {}
    for image, label in zip(train.images.numpy(), train.labels.tolist(), strict=True):
        known.setdefault(image.tobytes(), set()).add(label)
    full = other = blank = 0
    for image, label in zip(test.images.numpy(), test.labels.tolist(), strict=True):
        if image.tobytes() not in known:
            continue
        if (image == image[:1, :1]).all():
            blank += 1
            continue
        full += 1
        other += known[image.tobytes()] != {label}
    return full, other, blank


def told(train: Split, test: Split) -> tuple[int, int, int]:
    full = other = blank = 0
    for note in duplicate_notes(train, test, "here", refuse=False):
        count = int(note.split()[0])
        if "blank" in note:
            blank = count
            continue
        full = count
        other = int(note.split("; ")[1].split()[0]) if "another label" in note else 0
    return full, other, blank


@given(
    st.data(),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3])),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_as_counted_one_by_one(
    data: st.DataObject, shape: tuple[int, int, int], count: int, tests: int
) -> None:
    """Of a few different images; sides of 1 to 5 give rows that are no whole lanes."""
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pool = generator.integers(0, data.draw(st.sampled_from([2, 256])), (6, *shape), np.uint8)
    train, test = (
        split(pool[generator.integers(0, 6, n)], generator.integers(0, 2, n).tolist())
        for n in (count, tests)
    )
    assert told(train, test) == counted(train, test)


def test_equal_hashes_alone_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = split(noise(50, 4, 4, 1), [0] * 50), split(noise(20, 4, 4, 1), [0] * 20)
    test.images[3] = train.images[7]
    monkeypatch.setattr(duplicates, "_hash", lambda rows: np.zeros(len(rows), np.uint64))
    assert told(train, test) == (1, 0, 0)


def test_it_does_not_matter_which_rows_are_hashed_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    images = noise(60, 5, 5, 3)
    assert told(split(images, [0] * 60), split(images[::-1].copy(), [0] * 60)) == (60, 0, 0)


@pytest.mark.parametrize("bits", [1, 128])
def test_a_single_bit_makes_another_image(bits: int) -> None:
    images = noise(64, 8, 8, 1)
    near = images.copy()
    near.reshape(64, -1)[np.arange(64), np.arange(64)] ^= bits
    assert told(split(images, [0] * 64), split(near, [0] * 64)) == (0, 0, 0)


def saved(folder: Path, train: np.ndarray, test: np.ndarray) -> str:
    labels = [np.arange(len(images)) % 2 for images in (train, test)]
    file = folder / "own.npz"
    np.savez(
        file, train_images=train, train_labels=labels[0], test_images=test, test_labels=labels[1]
    )
    return f"npz:{file}"


def test_few_are_noted(tmp_path: Path) -> None:
    train, test = noise(200, 6, 6), noise(100, 6, 6)
    test[:3] = train[:3]
    test[3:5] = train[4:6]  # an odd distance: the other label
    assert load(saved(tmp_path, train, test)).notes == (
        "5 of 100 test images (5 %) are training images as well, bit for bit; 2 of them with "
        "another label there",
    )


def test_many_are_refused_unless_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = noise(20, 6, 6)
    name = saved(tmp_path, np.concatenate([noise(30, 6, 6), test]), test)
    text = rf"at most 5 % of the test images .* got 20 of 20 .*\(100 %\).* set {ACCEPT}=1"
    with pytest.raises(DataError, match=text):
        load(name)
    monkeypatch.setenv(ACCEPT, "1")
    assert load(name).notes[0].startswith("20 of 20 test images (100 %) are training images")


def test_one_more_than_the_share_is_refused(tmp_path: Path) -> None:
    train, test = noise(200, 6, 6), noise(100, 6, 6)
    test[:6] = train[:6]
    with pytest.raises(DataError, match="got 6 of 100"):
        load(saved(tmp_path, train, test))


def test_blank_images_are_told_apart(tmp_path: Path) -> None:
    train, test = noise(20, 6, 6), noise(10, 6, 6)
    train[0] = test[:4] = 7
    assert load(saved(tmp_path, train, test)).notes == (
        "4 of 10 test images are blank, and equal blank images are in the training split",
    )


def test_floats_count_after_conversion(tmp_path: Path) -> None:
    train, test = noise(20, 6, 6) / 255, noise(100, 6, 6) / 255
    test[0] = train[0] + 1e-6 * (train[0] < 0.5)
    assert load(saved(tmp_path, train, test)).notes[0].startswith("1 of 100")


def test_a_holdout_tells_of_its_own_test_samples(tmp_path: Path) -> None:
    train, test = noise(300, 6, 6), noise(100, 6, 6)
    test[0] = train[0]
    notes = load(f"holdout:{saved(tmp_path, train, test)}").notes
    assert not any("bit for bit" in note for note in notes)
    train[:] = train[:1]
    (tmp_path / "other").mkdir()
    notes = load(f"holdout:{saved(tmp_path / 'other', train, noise(100, 6, 6))}").notes
    assert notes[-1].startswith("60 of 60 test images (100 %)")
