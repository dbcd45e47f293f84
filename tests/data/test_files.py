from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedcore import Scenario
from fedcore.data.dataset import class_label, named_classes
from fedcore.data.loading import load
from fedcore.errors import DataError, ScenarioError


def save(file: Path, level: int = 0, mode: str = "L", size: tuple[int, int] = (6, 4)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode in ("1", "L", "I;16") else (level,) * len(mode)).save(file)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes with grey images of 6x4 pixels (width x height), two training and one test."""
    for k, name in enumerate(("cat", "dog")):
        save(tmp_path / "train" / name / "b.png", 10 * k + 1)
        save(tmp_path / "train" / name / "a.PNG", 10 * k)
        save(tmp_path / "test" / name / "a.png", 100 * k)
    return tmp_path


def failure(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(f"folder:{root}")
    return str(caught.value)


def test_grey_folder(tree: Path) -> None:
    (tree / "train" / "cat" / "notes.txt").write_text("not an image")
    (tree / "train" / ".cache").mkdir()
    (tree / "test" / "dog" / "._a.png").write_bytes(b"what macOS keeps of a.png on other systems")
    dataset = load(f"folder:{tree}")
    assert dataset.train.images.shape == (4, 4, 6, 1)
    assert dataset.train.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.test.images[:, 3, 5, 0].tolist() == [0, 100]
    assert dataset.num_classes == 2
    assert dataset.name == f"folder:{tree}"


def test_one_coloured_image_makes_all_rgb(tree: Path) -> None:
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tree / "test" / "dog" / "a.png")
    dataset = load(f"folder:{tree}")
    assert dataset.channels == 3
    assert dataset.test.images[1, 0, 0].tolist() == [1, 2, 3]
    assert dataset.train.images[3, 0, 0].tolist() == [11, 11, 11]


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("RGBA", 3)])
def test_modes(tree: Path, mode: str, channels: int) -> None:
    save(tree / "train" / "cat" / "c.png", 1 if mode == "1" else 9, mode)
    dataset = load(f"folder:{tree}")
    assert dataset.channels == channels
    assert set(dataset.train.images[2].flatten().tolist()) == {255 if mode == "1" else 9}


def test_jpeg(tree: Path) -> None:
    save(tree / "train" / "dog" / "z.jpeg", 77)
    assert load(f"folder:{tree}").train.images[4].unique().tolist() == [77]


def test_other_size_is_refused_by_name(tree: Path) -> None:
    save(tree / "test" / "cat" / "z.png", size=(4, 6))
    text = failure(tree)
    assert text.startswith(str(tree / "test" / "cat" / "z.png"))
    assert "got 4x6 (width x height)" in text
    assert "has 6x4" in text


def test_more_than_8_bits_is_refused(tree: Path) -> None:
    save(tree / "train" / "cat" / "deep.png", 1000, "I;16")
    assert "deep.png: pixels must have 8 bits a channel, got Pillow's mode 'I;16'" in failure(tree)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_file_that_is_no_image(tree: Path, content: bytes) -> None:
    (tree / "train" / "cat" / "bad.png").write_bytes(content)
    assert "bad.png: cannot be read as an image (UnidentifiedImageError" in failure(tree)


def test_truncated_image(tree: Path) -> None:
    file = tree / "train" / "cat" / "b.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    assert "b.png: cannot be read as an image (OSError" in failure(tree)


def test_missing_split(tree: Path) -> None:
    shutil.rmtree(tree / "test")
    assert f"{tree / 'test'}: there is no such folder; folder:PATH needs" in failure(tree)


def test_classes_must_agree(tree: Path) -> None:
    save(tree / "train" / "eel" / "a.png")
    save(tree / "test" / "ant" / "a.png")
    assert "same class folders, got ant, eel in only one" in failure(tree)


def test_empty_class(tree: Path) -> None:
    shutil.rmtree(tree / "test" / "dog")
    (tree / "test" / "dog").mkdir()
    assert f"{tree / 'test' / 'dog'}: there must be at least one image" in failure(tree)


def test_one_class_is_too_few(tree: Path) -> None:
    for part in ("train", "test"):
        shutil.rmtree(tree / part / "dog")
    assert "at least 2 class folders in train and test, got cat" in failure(tree)


@pytest.mark.parametrize("scheme", ["npz", "folder"])
@pytest.mark.parametrize("ending", ["", ":"])
def test_path_left_out(scheme: str, ending: str) -> None:
    with pytest.raises(ScenarioError, match=f"needs a path after a colon: {scheme}:PATH"):
        Scenario(dataset=scheme + ending)
    with pytest.raises(DataError, match=f"needs a path after a colon: {scheme}:PATH"):
        load(scheme + ending)


def test_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(
        tmp_path / "own.npz",
        train_images=np.full((3, 2, 2, 3), 0.2),
        train_labels=[0, 1, 2],
        test_images=np.zeros((1, 2, 2, 3)),
        test_labels=[3],
    )
    monkeypatch.chdir(tmp_path)
    dataset = load("npz:own.npz")
    assert dataset.num_classes == 4
    assert dataset.train.images.unique().tolist() == [51]
    # the same relative name elsewhere is another file, here none
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"own\.npz: there is no such file"):
        load("npz:own.npz")


def test_name_is_fine_for_a_scenario() -> None:
    assert Scenario(dataset="npz:C:/data/a.npz").dataset == "npz:C:/data/a.npz"


def named(folder: Path, names: object) -> str:
    generator = np.random.default_rng(0)
    np.savez(
        folder / "named.npz",
        train_images=generator.integers(0, 256, (4, 3, 3), np.uint8),
        train_labels=[0, 1, 2, 0],
        test_images=generator.integers(0, 256, (3, 3, 3), np.uint8),
        test_labels=[0, 1, 2],
        class_names=names,
    )
    return f"npz:{folder / 'named.npz'}"


@pytest.mark.parametrize("names", [["a", "b\n", "c"], np.array([b"a", b"b\n", b"c"])])
def test_an_npz_may_name_its_classes(tmp_path: Path, names: object) -> None:
    assert load(named(tmp_path, names)).class_names == ("a", "b\\n", "c")


@pytest.mark.parametrize("names", [["a", "b"], [1, 2, 3], [["a", "b", "c"]]])
def test_names_that_do_not_fit(tmp_path: Path, names: object) -> None:
    with pytest.raises(DataError, match="class_names: must be 3 strings, one for each class"):
        load(named(tmp_path, names))


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    dataset = load("synthetic:20")
    assert dataset.class_names == tuple(map(str, range(10)))
    assert named_classes(dataset.class_names) == ""
    assert named_classes(("cat", "1")) == "0 (cat), 1"
    assert class_label(0, ()) == "0"
