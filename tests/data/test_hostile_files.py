"""Data files that claim what they do not hold: refused before anything is expanded or decoded."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedcore.data.loading import load
from fedcore.data.npz import KEYS, read_npz
from fedcore.errors import DataError
from fedcore.outside import archive, limits
from tests.fuzz.boundaries.folder import images, plain, png_bomb
from tests.fuzz.boundaries.npz import bomb


def arrays() -> dict[str, np.ndarray]:
    """Content of all keys, one byte a number."""
    return {key: np.arange(4, dtype=np.uint8) for key in KEYS}


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode() + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def packed(path: Path, first: bytes, **how: Any) -> Path:
    """An archive whose first array is ``first``, as it stands."""
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr(f"{KEYS[0]}.npy", first)
        for key in KEYS[1:]:
            buffer = io.BytesIO()
            np.save(buffer, arrays()[key])
            file.writestr(f"{key}.npy", buffer.getvalue())
    return path


@pytest.mark.parametrize(
    ("descr", "shape", "rule"),
    [
        ("'|u1'", "(1000000000000,)", "claims shape"),
        ("'|u1'", "(99999999999999999999, 2)", "claims shape"),
        ("'|u1'", "(-4,)", "dimensions >= 0"),
        ("'|u1'", "(" + "1, " * 20 + ")", "dimensions"),
        ("'|u1'", "(3,)", "claims shape"),
        ("'|O'", "(4,)", "Object arrays"),
        ("'|V4'", "(1,)", "numbers or short texts"),
        ("[('a', '<i4', (1000000000,))]", "(1,)", "cannot be read"),
        ("[('a', '<i4', (1000,))]", "(1,)", "numbers or short texts"),
        ("'<U100000'", "(1,)", "numbers or short texts"),
        ("'<c8'", "(1,)", "numbers or short texts"),
        ("1/0", "(4,)", "cannot be read"),
    ],
)
def test_headers(tmp_path: Path, descr: str, shape: str, rule: str) -> None:
    path = packed(tmp_path / "a.npz", header(descr, shape) + b"abcd")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rule):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, method: int) -> None:
    path = packed(tmp_path / "a.npz", header("'|u1'", "(4,)") + b"abcd", compression=method)
    with pytest.raises(DataError, match="must be stored or deflated"):
        read_npz(path)


def test_encrypted_and_doubled(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", header("'|u1'", "(4,)") + b"abcd")
    assert read_npz(path)[KEYS[0]].tolist() == [97, 98, 99, 100]
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(DataError, match="must not be encrypted"):
        read_npz(tmp_path / "b.npz")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(f"{KEYS[0]}.npy", b"")
    with pytest.raises(DataError, match="got train_images more than once"):
        read_npz(path)


def test_a_bomb_is_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(bomb())
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"to 100 times its size, got .* MiB from .* KiB"):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_more_than_this_machine_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "data_bytes", lambda: 10)
    np.savez(tmp_path / "a.npz", **arrays())
    with pytest.raises(DataError, match=r"may take 10 bytes, half of .* got 16 bytes"):
        read_npz(tmp_path / "a.npz")


def test_a_table_of_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ZIP_TABLE_BYTES", 100)
    np.savez(tmp_path / "a.npz", **arrays())
    with pytest.raises(DataError, match="table of members may have 100 bytes, got"):
        read_npz(tmp_path / "a.npz")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of 8x8 images."""
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "f" / part / name).mkdir(parents=True)
            number = 2 * (part == "train") + (name == "a")
            (tmp_path / "f" / part / name / "0.png").write_bytes(plain()[number])
    return tmp_path / "f"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA"])
def test_no_other_format_is_opened_and_nothing_started(
    tree: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    import subprocess

    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: started.append(given))
    Image.init()  # all decoders are known, and none of the others is asked
    (tree / "train" / "a" / f"x{suffix}").write_bytes(images()[kind])
    with pytest.raises(DataError, match="cannot be read as an image"):
        load(f"folder:{tree}")
    assert started == []


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (png_bomb(9000), "may have 67108864 pixels, got 9000x9000"),
        (b"P3 3000 3000 255 " + b"1 " * 99, "may have 4194304 pixels, got 3000x3000"),
    ],
    ids=["bomb", "digits"],
)
def test_pixels_are_counted_before_they_are_decoded(tree: Path, content: bytes, rule: str) -> None:
    (tree / "train" / "a" / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rule):
        load(f"folder:{tree}", image_size=8)


def test_all_images_together(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "data_bytes", lambda: 4 * 8 * 8 * 3 - 1)
    with pytest.raises(DataError, match="all images may take 767 bytes, half"):
        load(f"folder:{tree}")


@pytest.mark.parametrize("place", ["train/a/x.png", "train/a/deep", "train/c", "test/c"])
def test_links_that_lead_out(tree: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.png").write_bytes(images()["PNG"])
    target = tmp_path / "secret"
    (tree / place).symlink_to(target / "s.png" if place.endswith(".png") else target)
    with pytest.raises(DataError, match="links must stay within"):
        load(f"folder:{tree}")


def test_links_within(tree: Path) -> None:
    (tree / "train" / "a" / "x.png").symlink_to("0.png")
    link = tree.parent / "link"
    link.symlink_to(tree)  # the folder itself may be a link
    assert len(load(f"folder:{link}").train) == 3


def test_what_pillow_logs_is_a_note(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    from fedcore.data.warned import collecting

    with collecting() as warned:
        logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than %d", 3)
        warned.about("a.tif")
    assert warned.notes() == (
        "warned once while data were read (at a.tif): UserWarning: More samples per pixel than 3",
    )
    assert os.path.isdir(tree)
