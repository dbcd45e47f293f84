"""Places that cannot be read: a DataError with rule, value and remedy, never an OSError."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedcore.data.loading import data_directory, known_classes, load
from fedcore.data.places import printable
from fedcore.errors import DataError, ScenarioError
from fedcore.harness.baselines.file import folder_name
from fedcore.scenario import Scenario

NOBODY = 65534


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody may read; pytest's own is the user's alone."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (place / "f" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (4, 4), np.uint8)
                Image.fromarray(pixels).save(place / "f" / part / name / f"{part}{i}.png")
    images, labels = np.arange(640, dtype=np.uint8).reshape(40, 4, 4), np.arange(40) % 2
    arrays = {"train_images": images, "train_labels": labels}
    np.savez(
        place / "d.npz", **arrays, test_images=images[:1] + np.uint8(1), test_labels=labels[:1]
    )
    yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """As a user to whom permissions apply, which they do not to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("locked", "dataset"),
    [
        ("d.npz", "npz:d.npz"),
        (".", "npz:d.npz"),
        ("f", "folder:f"),
        ("f/train", "folder:f"),
        ("f/train/cat", "folder:f"),
        ("f/test/dog", "folder:f"),
        ("f/train/cat/train2.png", "folder:f"),
        (".", "breastmnist"),
    ],
)
def test_without_leave(open_place: Path, locked: str, dataset: str) -> None:
    kind, _, path = dataset.partition(":")
    name = f"{kind}:{open_place / path}" if path else kind
    mode = (open_place / locked).stat().st_mode
    (open_place / locked).chmod(0)
    try:
        with without_rights(), pytest.raises(DataError) as caught:
            load(name, open_place)
    finally:
        (open_place / locked).chmod(mode)
    text = str(caught.value)
    assert "this user must have leave to read it" in text
    assert "Permission denied" in text
    assert "chmod" in text
    assert "corrupt" not in text
    # and once there is leave, it is read
    if path:
        assert len(load(name).train)


@pytest.mark.parametrize("name", ["npz:~nosuch/d.npz", "folder:~nosuch/f"])
def test_a_home_that_does_not_exist(name: str) -> None:
    with pytest.raises(DataError, match="'~' must stand for the home of a user of this machine"):
        load(name)
    assert known_classes(name) is None


def test_a_data_directory_in_a_home_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("~nosuch/data", None):
        monkeypatch.setenv("FEDCORE_DATA", "~nosuch/data")
        with pytest.raises(DataError, match="'~' must stand"):
            data_directory(given)


@pytest.mark.parametrize("kind", ["npz", "folder"])
@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000])
def test_a_path_too_long(kind: str, path: str) -> None:
    with pytest.raises(DataError, match="must be of a length that the system takes") as caught:
        load(f"{kind}:{path}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_links_in_a_circle(tmp_path: Path, kind: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="lead in a circle"):
        load(f"{kind}:{tmp_path / 'loop'}")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path, kind in (
        (tmp_path / "pipe.npz", "a named pipe"),
        ("/dev/zero", "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(DataError, match=f"there is no such file, got {kind}"):
            load(f"npz:{path}")


def test_a_published_set_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bloodmnist.npz")
    with pytest.raises(DataError, match="got a named pipe"):
        load("bloodmnist", tmp_path)


@pytest.mark.parametrize("path", ["a\0b", "lat\udce9in", "two\nlines"])
def test_a_path_that_no_record_can_hold(path: str) -> None:
    for kind in ("npz", "folder"):
        with pytest.raises(ScenarioError, match="printable UTF-8"):
            Scenario(dataset=f"{kind}:{path}")
        with pytest.raises(DataError, match="printable UTF-8"):
            load(f"{kind}:{path}")


def test_escapes() -> None:
    assert printable("caf\udce9\t\u00e9") == "caf\\udce9\\t\u00e9"


def test_a_baselines_name_is_short_and_tells_long_paths_apart() -> None:
    names = {folder_name(f"npz:{'x' * 250}{i}.npz", "quick", None, "cpu") for i in range(3)}
    assert len(names) == 3
    assert max(map(len, names)) < 200
    assert folder_name("npz:a/b.npz", "quick", None, "cpu") == "npz-b-quick-cpu"
