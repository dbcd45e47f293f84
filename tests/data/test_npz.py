from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.data.npz import KEYS, read_npz
from fedcore.errors import DataError


def arrays(**changes: Any) -> dict[str, Any]:
    """Arrays under all keys; their content is not looked at when they are read."""
    return {key: np.arange(4, dtype=np.uint8) for key in KEYS} | changes


def test_npz_round_trip_reads_only_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, val_images=np.zeros(3), **arrays())
    found = read_npz(path)
    assert tuple(found) == KEYS
    assert all((found[key] == arrays()[key]).all() for key in KEYS)


def test_npz_that_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(DataError, match="there is no such file"):
        read_npz(tmp_path)


def test_npz_with_missing_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros(1), x=np.zeros(1))
    with pytest.raises(DataError, match="train_labels, test_images, test_labels missing") as caught:
        read_npz(tmp_path / "a.npz")
    assert "among train_images, x" in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_npz(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="truncated or corrupt") as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_corrupt_npz_member(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    noise = np.random.default_rng(0).integers(0, 256, (400, 5, 3), np.uint8)
    save(path, **arrays(train_images=noise))
    content = bytearray(path.read_bytes())
    content[1000:1050] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(DataError, match="truncated or corrupt"):
        read_npz(path)


def test_bare_array_and_pickles(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="one bare array"):
        read_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **arrays(train_labels=np.array([None] * 4)))
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        read_npz(tmp_path / "b.npz")
