"""folder:PATH beyond the plain case of test_files.py: what is read, skipped, resized and named."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedcore.data.folder import natural
from fedcore.data.images import FORMATS
from fedcore.data.loading import known_classes, load
from fedcore.errors import DataError

RNG = np.random.default_rng(0)


def save(file: Path, size: tuple[int, int] = (6, 4), colour: bool = False, **how: object) -> None:
    """An image of ``size`` (width, height) whose pixels are drawn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if colour else (size[1], size[0])
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(file, **how)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        for part, count in (("train", 3), ("test", 2)):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def read(root: Path, image_size: int | None = None):
    return load(f"folder:{root}", image_size=image_size)


def test_nothing_to_say_of_a_plain_folder(tree: Path) -> None:
    dataset = read(tree)
    assert dataset.notes == ()
    assert dataset.class_names == ("cat", "dog")


def test_numbers_sort_as_numbers(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for k in range(11):
            file = tmp_path / part / str(k) / "a.png"
            file.parent.mkdir(parents=True)
            Image.fromarray(np.full((4, 4), 20 * k + (part == "test"), np.uint8)).save(file)
    dataset = read(tmp_path)
    assert dataset.class_names == tuple(map(str, range(11)))
    assert (dataset.train.images[:, 0, 0, 0] // 20).tolist() == dataset.train.labels.tolist()
    assert dataset.train.labels.tolist() == list(range(11))


@pytest.mark.parametrize(
    "names",
    [
        ["2", "10"],
        ["-1", "0", "1"],
        ["0.25", "0.5", "1.0"],
        ["fold2", "fold10"],
        ["a", "a1", "a1b", "a02", "a10"],
        ["Zebra", "ant"],
        ["01", "1"],
    ],
)
def test_natural_order(names: list[str]) -> None:
    assert natural(set(names)) == names


@given(st.sets(st.integers(0, 10**12), min_size=2), st.sampled_from(["", "class", "é "]))
def test_numbers_with_one_prefix_sort_by_value(numbers: set[int], prefix: str) -> None:
    assert natural({f"{prefix}{n}" for n in numbers}) == [f"{prefix}{n}" for n in sorted(numbers)]


@given(st.sets(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)))
def test_any_names_have_one_order(names: set[str]) -> None:
    assert sorted(natural(names)) == sorted(names)


def test_folders_inside_a_class_are_read(tree: Path) -> None:
    before = read(tree).digest
    (tree / "train" / "cat" / "2023" / "may").mkdir(parents=True)
    os.rename(tree / "train" / "cat" / "2.png", tree / "train" / "cat" / "2023" / "may" / "2.png")
    dataset = load(f"folder:{tree}/.")
    assert (dataset.train.labels == 0).sum() == 3
    assert dataset.notes == ()
    # sorted by path: 0.png, 1.png, 2023/may/2.png, as before
    assert dataset.digest == before


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "train" / "cat" / "back").symlink_to(tree / "train" / "cat")
    (tree / "train" / "cat" / "up").symlink_to(tree / "train")
    dataset = read(tree)
    assert len(dataset.train) == 6 + 3  # through "up" the dogs, too: once
    assert any("to a folder already read skipped" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("suffix", "format"),
    [(suffix, format) for format, suffixes in FORMATS.items() for suffix in suffixes],
)
def test_every_promised_suffix_is_read_as_grey(tree: Path, suffix: str, format: str) -> None:
    for mode in ("L", "1") if suffix == ".pbm" else ("L",):
        file = tree / "train" / "dog" / f"z{suffix.upper()}"
        Image.fromarray(RNG.integers(0, 256, (4, 6), np.uint8)).convert(mode).save(file, format)
        dataset = load(f"folder:{tree}{'/' * (mode == '1')}")
        assert len(dataset.train) == 7
        assert dataset.notes == ()
        assert dataset.channels == (3 if format == "WEBP" else 1)  # WebP has no grey


def test_gif_keeps_grey_levels_and_colours(tree: Path) -> None:
    file = tree / "train" / "dog" / "z.gif"
    levels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(levels).save(file)
    assert np.array_equal(read(tree).train.images[6, ..., 0].numpy(), levels)
    coloured = np.zeros((4, 6, 3), np.uint8)
    coloured[..., 0] = levels
    Image.fromarray(coloured).save(file)
    assert np.array_equal(load(f"folder:{tree}/").train.images[6].numpy(), coloured)


def test_what_is_skipped_is_counted(tree: Path) -> None:
    cat = tree / "train" / "cat"
    for i in range(3):
        (cat / f"{i}.txt").write_text("")
    (cat / "README").write_text("")
    (cat / "._0.png").write_bytes(b"")
    (cat / ".thumbs").mkdir()
    (cat / ".thumbs" / "0.png").write_bytes(b"")
    (tree / "train" / "list.csv").write_text("")
    (tree / "val" / "cat").mkdir(parents=True)
    assert read(tree).notes == (
        "6 files skipped: 3 .txt, 1 beside the class folders, 1 hidden, 1 without suffix",
        "1 hidden folder skipped",
        "not read, beside train and test: val",
    )


def test_several_frames_count_by_the_first(tree: Path) -> None:
    frames = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in (10, 200)]
    for name in ("z.gif", "z.tiff"):
        frames[0].save(tree / "train" / "dog" / name, save_all=True, append_images=frames[1:])
    dataset = read(tree)
    assert dataset.notes == ("2 images with several frames or pages: the first one was read",)
    assert dataset.train.images[6:].unique().tolist() == [10]


def test_photographs_stand_upright(tree: Path) -> None:
    levels = np.zeros((6, 4), np.uint8)  # stored lying: 4 wide, 6 high
    levels[:, :2] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(levels).save(tree / "train" / "dog" / "z.jpg", exif=exif, quality=100)
    dataset = read(tree)
    assert dataset.notes == ("1 image turned upright, as their EXIF orientation says",)
    seen = dataset.train.images[6, ..., 0].numpy()
    assert seen.shape == (4, 6)
    assert seen[0].mean() > 150 > 50 > seen[3].mean()  # what was left is on top


def test_only_promised_formats_are_opened(tree: Path) -> None:
    # PostScript under an image's suffix: Pillow would have Ghostscript run it
    (tree / "train" / "dog" / "z.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n"
    )
    with pytest.raises(DataError, match=r"z\.png: cannot be read as an image"):
        read(tree)


def test_a_format_that_is_not_promised_is_refused(tree: Path) -> None:
    Image.new("L", (6, 4)).save(tree / "train" / "dog" / "z.png", "PCX")
    with pytest.raises(DataError, match=r"z\.png: cannot be read as an image"):
        read(tree)


def test_a_pipe_does_not_hang(tree: Path) -> None:
    os.mkfifo(tree / "train" / "dog" / "z.png")
    with pytest.raises(DataError, match=r"z\.png: there is no such file, got a named pipe"):
        read(tree)


def test_other_sizes_need_image_size_and_say_so(tree: Path) -> None:
    save(tree / "test" / "dog" / "z.png", (9, 7))
    with pytest.raises(DataError, match=r"got 9x7 .*--image-size N"):
        read(tree)
    dataset = read(tree, 5)
    assert dataset.image_shape == (5, 5)
    assert dataset.notes == ("11 images resized to 5x5 on reading",)


@pytest.mark.parametrize("colour", [False, True])
def test_resizing_is_pillows(tree: Path, colour: bool) -> None:
    sizes = [(40, 31), (5, 90), (8, 8), (3, 2)]
    for i, size in enumerate(sizes):
        save(tree / "train" / "dog" / f"z{i}.png", size, colour)
    images = read(tree, 8).train.images[6:].numpy()
    for i in range(len(sizes)):
        with Image.open(tree / "train" / "dog" / f"z{i}.png") as image:
            expected = image.resize((8, 8), Image.Resampling.BILINEAR)
            expected = np.asarray(expected.convert("RGB") if colour else expected).reshape(8, 8, -1)
        assert np.array_equal(images[i], expected)


def test_a_late_colour_image_keeps_the_grey_ones(tree: Path) -> None:
    plain = read(tree)
    save(tree / "test" / "dog" / "z.png", colour=True)
    dataset = load(f"folder:{tree}/")
    assert dataset.channels == 3
    assert (dataset.train.images == plain.train.images).all()
    assert (dataset.test.images[:-1] == plain.test.images).all()


def test_a_set_of_one_size_has_its_old_digest(tmp_path: Path) -> None:
    for k, name in enumerate(("cat", "dog")):
        for part in ("train", "test"):
            levels = np.arange(24, dtype=np.uint8).reshape(4, 6) + 30 * k + 100 * (part == "test")
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(levels).save(tmp_path / part / name / "a.png")
    # as commit db446b2 computes it
    assert read(tmp_path).digest == "41d9c9da86d8dcb5"


def test_classes_are_known_without_reading_an_image(tree: Path) -> None:
    save(tree / "test" / "dog" / "z.png", (9, 7))
    assert known_classes(f"folder:{tree}") == 2
    assert known_classes(f"holdout:folder:{tree}") == 2


def test_holdout_resizes_too(tree: Path) -> None:
    save(tree / "train" / "dog" / "z.png", (9, 7))
    assert load(f"holdout:folder:{tree}", image_size=4).image_shape == (4, 4)


def test_peak_memory_is_the_result_and_one_image(tmp_path: Path) -> None:
    """40 photographs of 3 MB decoded, 5 of them twice the size: 135 MB if all were held."""
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            for i in range(10):
                side = 1000 + 400 * (i == 3)
                file = tmp_path / part / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(RNG.integers(0, 256, (1, side, 3), np.uint8)).resize(
                    (side, side)
                ).save(file, compress_level=1)
    script = f"""
import resource
from pathlib import Path
from PIL import Image
from fedcore.data.loading import load
import fedcore.data.transforms, fedcore.data.folder
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for _ in range(2):  # what decoding one image takes is no growth
    with Image.open({str(tmp_path / "train" / "cat" / "3.png")!r}) as image:
        image.convert("RGB").resize((32, 32))
before = peak()
load("folder:{tmp_path}", image_size=32)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 40  # MiB: a few copies of the largest image, of 6


def corrupt_exif(file: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\x01\0" + b"\x0f\x01\x02\0\x40\0\0\0\x1a\0\0\0"
    exif += b"\0\0\0\0abc"
    save(file, exif=exif)


@pytest.mark.parametrize("action", ["default", "error", "ignore"])
def test_warnings_become_notes(tree: Path, action: str) -> None:
    for name in ("y.jpg", "z.jpg"):
        corrupt_exif(tree / "train" / "dog" / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        dataset = read(tree)
    assert caught == []
    (note,) = dataset.notes
    assert note.startswith("warned ")
    assert "times while data were read (first at train/dog/y.jpg): UserWarning" in note
    assert len(dataset.train) == 8


def test_names_that_are_not_utf8_are_escaped(tree: Path) -> None:
    for part in ("train", "test"):
        os.rename(os.fsencode(tree / part / "cat"), os.fsencode(tree / part) + b"/caf\xe9\n")
    assert read(tree).class_names == ("caf\\udce9\\n", "dog")
