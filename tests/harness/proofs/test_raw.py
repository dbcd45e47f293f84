from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedcore.data.loading import load
from fedcore.errors import DataError
from fedcore.exchange.fingerprints import content
from fedcore.harness.proofs.raw import raw


def require_equal(name: str, folder: Path | None = None) -> None:
    """What is read a second time is what a run reads."""
    dataset, again = load(name, folder), raw(name, folder)
    assert again.shape == (*dataset.image_shape, dataset.channels)
    assert again.classes == dataset.num_classes
    for split, images, labels in (
        (dataset.train, again.train, again.train_labels),
        (dataset.test, again.test, again.test_labels),
    ):
        assert (content(split.images) == images).all()
        assert (split.labels.numpy() == labels).all()


@pytest.mark.parametrize(
    "name", ["mnist5k", "synthetic:10", "synthetic:97", "holdout:mnist5k", "holdout:synthetic:100"]
)
def test_sets_that_need_no_file(name: str) -> None:
    require_equal(name)


def written(folder: Path, kind: type, last: tuple[int, ...] = ()) -> Path:
    drawn = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("test", 5)):
        levels = drawn.integers(0, 256, (count, 6, 5, *last))
        arrays[f"{split}_images"] = (levels if kind is np.uint8 else levels / 255).astype(kind)
        arrays[f"{split}_labels"] = (np.arange(count) % 3)[:, None]
    path = folder / "a.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("last", [(), (1,), (3,)])
def test_npz_files_of_every_kind(tmp_path: Path, kind: type, last: tuple[int, ...]) -> None:
    require_equal(f"npz:{written(tmp_path, kind, last)}")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, np.uint8)
    before = raw(f"npz:{path}")
    written(tmp_path, np.uint8, (3,))
    assert raw(f"npz:{path}").shape != before.shape


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read again"):
        raw(f"npz:{tmp_path / 'none.npz'}")


def test_medmnist(shared_data: Path) -> None:
    require_equal("bloodmnist", shared_data)
    assert raw("bloodmnist", shared_data).twice.sum() == 4  # the publisher's own duplicates
