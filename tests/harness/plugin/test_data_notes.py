"""What was noticed while data were read reaches the table and the report, and ends no session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import Suite

# one entry of a directory that points beyond the end of the file
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x40\0\0\0\x1a\0\0\0\0\0\0\0abc"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 10)):
        for k, name in enumerate(("cat", "dog")):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 60, (8, 8), np.uint8) + 150 * k
                Image.fromarray(pixels.astype(np.uint8)).save(
                    folder / f"{i}.jpg", exif=EXIF if i == 3 else b"", quality=95
                )
    return tmp_path / "photos"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("more", [(), ("-W", "error")])
def test_a_warning_is_a_note(suite: Suite, photos: Path, jobs: int, more: tuple[str, ...]) -> None:
    result = suite.run(f"--dataset=folder:{photos}", "-k", "fednova", *more, jobs=jobs)
    assert result.ret == 0
    lines = " ".join(" ".join(suite.table(result)).split())
    note = "warned 4 times while data were read (first at train/cat/3.jpg): UserWarning"
    assert note in lines
    (cell, *_) = suite.results()
    assert cell["class_names"] == ["cat", "dog"]
    assert cell["data_notes"][0].startswith(note)
    assert note in (suite.path / ".fedcore" / "report.md").read_text().replace("\n", " ")


def test_images_of_several_sizes_need_image_size(suite: Suite, photos: Path) -> None:
    Image.new("L", (9, 7)).save(photos / "train" / "dog" / "z.png")
    dataset = f"--dataset=folder:{photos}"
    result = suite.run(dataset)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "got 9x7 (width x height)" in suite.text(result)
    assert "--image-size N" in suite.text(result)
    # a suite whose cells take it from the options, as benchmark/ does
    suite.path.joinpath("test_suite.py").write_text(
        suite.path.joinpath("test_suite.py")
        .read_text()
        .replace("model=options", "image_size=options.image_size, model=options")
    )
    result = suite.run(dataset, "--image-size=8", "-k", "fednova and clean")
    assert result.ret == 0
    assert "data: 1 image resized to 8x8 on reading" in suite.text(result)


@pytest.mark.parametrize("size", ["0", "-3"])
def test_a_size_must_be_positive(suite: Suite, size: str) -> None:
    result = suite.run(f"--image-size={size}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--image-size must be >= 1, got {size}" in suite.text(result)


@pytest.mark.parametrize("path", ["x" * 300, "~nosuch/d.npz", "/dev/zero"])
def test_a_place_that_cannot_be_read_is_a_usage_error(suite: Suite, path: str) -> None:
    result = suite.run(f"--dataset=npz:{path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in suite.text(result)
    assert "INTERNALERROR" not in suite.text(result)
