"""A suite's targeted flip exists on every data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedcore.harness.options import Options
from fedcore.harness.targets import targeted_flip


def target(dataset: str, data_dir: str | None = None) -> int:
    attack = targeted_flip(Options(dataset=dataset, data_dir=data_dir))
    assert (attack["attack"], attack["source_class"]) == ("targetedflip", 1)
    return int(attack["target_class"])


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("mnist5k", 7),
        ("bloodmnist", 7),
        ("pathmnist", 7),
        ("holdout:mnist5k", 7),
        ("dermamnist", 0),
        ("breastmnist", 0),
        ("holdout:breastmnist", 0),
    ],
)
def test_published_sets_without_reading_a_file(
    dataset: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("collecting tests downloads nothing")

    monkeypatch.setattr("fedcore.data.medmnist.fetch", fetch)
    assert target(dataset, str(tmp_path)) == expected


@pytest.mark.parametrize(("classes", "expected"), [(2, 0), (7, 0), (8, 7), (11, 7)])
def test_own_data_by_their_number_of_classes(tmp_path: Path, classes: int, expected: int) -> None:
    labels = np.arange(classes)
    images = np.zeros((classes, 8, 8), np.uint8)
    file = tmp_path / "own.npz"
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert target(f"npz:{file}") == expected


def test_data_that_cannot_be_read_are_left_to_the_cells() -> None:
    assert target("npz:absent.npz") == 7
    assert target("holdout:npz:absent.npz") == 7
