"""npz archives: claims that do not hold, pickles, bombs, encryption, damage."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
from pathlib import Path

import numpy as np

from fedcore.data.loading import load
from tests.fuzz.mutate import damaged

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_DTYPES = ("|u1", "<f4", ">f8", "<i8", "|O", "|b1", "<U3", "|S0", "<c16", "|V9", "<M8[s]", "<f2")
_SHAPES = (
    "(4, 8, 8)", "(10**12,)", "(1000000000000,)", "(4, 1000000, 1000000)", "(-1, 8, 8)", "()",
    "(0, 9223372036854775807)", "(4, 8, 8, 3)", "(4, 8, 8, 3, 1, 1, 1, 1, 1, 1)", "(True, 8)",
    "(99999999999999999999, 2)", "4", "(4.0, 8)", "((4,), 8)", "(" * 300 + ")" * 300,
)  # fmt: skip


def attempt(rng: random.Random, folder: Path) -> None:
    path = folder / "a.npz"
    content = _archive(rng)
    if rng.random() < 0.3:
        content = damaged(rng, content)
    if rng.random() < 0.02:
        content = bomb()
    path.write_bytes(content)
    load(f"npz:{path}")


def _archive(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    if rng.random() < 0.1:
        packing = rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for key in KEYS:
            if rng.random() < 0.03:
                continue
            for _ in range(2 if rng.random() < 0.03 else 1):
                _write(archive, key + rng.choice((".npy", ".npy", ".npy", "")), _member(rng, key))
        if rng.random() < 0.1:
            _write(archive, "class_names.npy", _array(np.array(["cat", "dog"])))
    content = bytearray(buffer.getvalue())
    if rng.random() < 0.05:  # encrypted, say both the member and the table
        content[6] |= 1
        content[content.index(b"PK\1\2") + 8] |= 1
    if rng.random() < 0.05:  # sizes that the table claims
        at = content.index(b"PK\1\2") + rng.choice((20, 24))
        content[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 10**9, 2**32 - 1)))
    return bytes(content)


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.filelist = [*archive.filelist]
    archive.NameToInfo.pop(name, None)  # no warning for a second one of this name
    archive.writestr(name, content)


def _member(rng: random.Random, key: str) -> bytes:
    if rng.random() < 0.15:  # a header of its own
        header = (
            "{"
            + (
                f"'descr': {rng.choice(_DTYPES)!r}, 'fortran_order': {rng.random() < 0.5}, "
                f"'shape': {rng.choice(_SHAPES)}, "
            )
            + "}"
        )
        if rng.random() < 0.1:
            header = header.replace("'descr'", rng.choice(("'x'", "[1]", "'descr': 1, 'descr'")))
        text = header.encode() + b" " * rng.choice((0, 10, 20_000)) + b"\n"
        version = rng.choice((b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"))
        size = struct.pack("<H" if version == b"\1\0" else "<I", min(len(text), 65535))
        return b"\x93NUMPY" + version + size + text + rng.randbytes(rng.choice((0, 256, 1000)))
    count = 6 if key.startswith("train") else 3
    if rng.random() < 0.05:
        return _array(np.array([None] * count, object), pickled=True)
    if key.endswith("labels"):
        labels = np.arange(count) % 2
        if rng.random() < 0.2:
            labels = rng.choice(
                (labels - 1, labels * 1.5, labels * 10**9, labels[:0], labels[None], labels * 7)
            )
        return _array(labels.astype(rng.choice(("u1", "i8", "f4"))))
    images = np.random.default_rng(rng.randrange(99)).integers(0, 256, (count, 8, 8), np.uint8)
    if rng.random() < 0.2:
        floats = images / 255
        floats[0, 0, 0] = rng.choice((0.5, float("nan"), float("inf"), -1.0))
        return _array(rng.choice((floats, images.astype("i4"), images[..., None], images[0])))
    return _array(np.asfortranarray(images) if rng.random() < 0.1 else images)


def _array(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


@functools.cache
def bomb(size: int = 100 << 20) -> bytes:
    """An archive that expands to ``size`` bytes of zeros; a thousandth of that itself."""
    side = 1024
    count = size // side**2
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (count, side, side)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("train_images.npy", "w") as member:
            member.write(head.getvalue())
            for _ in range(count):
                member.write(bytes(side**2))
        for key in KEYS[1:]:
            archive.writestr(f"{key}.npy", _array(np.zeros((2, side, side), np.uint8)[: len(key)]))
    return buffer.getvalue()
