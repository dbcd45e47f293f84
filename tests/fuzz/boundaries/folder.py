"""Folders of images: other formats, damaged files, bombs, pipes, devices, links that lead out."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fedcore.data.loading import load
from tests.fuzz.mutate import damaged

SUFFIXES = (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".PNG", ".eps", ".txt", "")


def attempt(rng: random.Random, folder: Path) -> None:
    root = folder / "f"
    for part in ("train", "test"):
        for name in ("a", "b"):
            place = root / part / (name if rng.random() < 0.99 else os.fsdecode(b"\xff\xfe"))
            place.mkdir(parents=True, exist_ok=True)
            for number in range(2 if part == "train" else 1):
                _put(rng, place, number, folder)
    if rng.random() < 0.05:
        with contextlib.suppress(OSError):
            _special(rng, root / rng.choice(("x", "train/c", "train/a/z")), folder)
    load(f"folder:{root}", image_size=rng.choice((None, 8, 9)))


def _put(rng: random.Random, place: Path, number: int, folder: Path) -> None:
    if rng.random() < 0.03:
        _special(rng, place / f"{number}.png", folder)
        return
    if rng.random() < 0.75:
        different = 2 * len(list(folder.rglob("*"))) + number  # from those of the other split
        (place / f"{number}.png").write_bytes(plain()[different % len(plain())])
        return
    kind = rng.choice(sorted(images()))
    content = images()[kind]
    if rng.random() < 0.7:
        content = damaged(rng, content)
    suffix = rng.choice(SUFFIXES) if rng.random() < 0.2 else ".png"
    name = os.fsdecode(b"\xe9\n\x1b") if rng.random() < 0.02 else str(number)
    (place / f"{name}{suffix}").write_bytes(content)


def _special(rng: random.Random, path: Path, folder: Path) -> None:
    match rng.randrange(8):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(folder.parent / "secret.png")
        case 2:
            path.symlink_to(rng.choice(("/dev/zero", "/dev/tty", "/proc/self/mem", "/dev/full")))
        case 3:
            path.symlink_to(path)
        case 4:
            path.symlink_to(rng.choice(("/", "/etc", "/proc/self", "..", "../..")))
        case 5:
            path.mkdir()
        case 6:
            path.symlink_to(path.parent)
        case _:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))


@functools.cache
def images() -> dict[str, bytes]:
    """8x8 images by format and mode, and files that claim to be large or are programs."""
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    grey = Image.fromarray(levels[..., 0])
    colour = Image.fromarray(levels)
    found = {
        "PNG": _saved(grey, "PNG"),
        "PNG P": _saved(colour.convert("P"), "PNG"),
        "PNG RGBA": _saved(colour.convert("RGBA"), "PNG"),
        "PNG 16": _saved(Image.fromarray(levels[..., 0].astype(np.uint16)), "PNG"),
        "JPEG": _saved(colour, "JPEG"),
        "JPEG CMYK": _saved(colour.convert("CMYK"), "JPEG"),
        "GIF": _saved(colour, "GIF"),
        "BMP": _saved(colour, "BMP"),
        "TIFF": _saved(colour, "TIFF"),
        "TIFF F": _saved(grey.convert("F"), "TIFF"),
        "TIFF LZW": _saved(colour, "TIFF", compression="tiff_lzw"),
        "WEBP": _saved(colour, "WEBP"),
        "PPM": _saved(colour, "PPM"),
        "ICO": _saved(colour, "ICO"),
        "PCX": _saved(colour, "PCX"),
        "TGA": _saved(colour, "TGA"),
    }
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x0f\1\2\0\x40\0\0\0\x1a\0\0\0\0\0\0\0abc"
    found["JPEG EXIF"] = _saved(colour, "JPEG", exif=exif)
    found["EPS"] = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        b"(%pipe%touch ran) (w) file closefile\nshowpage\n%%EOF\n"
    )
    found["PNG bomb"] = png_bomb(12_000)
    found["plain PPM"] = b"P3\n60000 60000\n255\n" + b"1 " * 50
    found["empty"] = b""
    found["text"] = b"no image"
    return found


@functools.cache
def plain() -> list[bytes]:
    """Grey 8x8 images, no two of them equal."""
    levels = np.random.default_rng(1).integers(0, 256, (64, 8, 8), np.uint8)
    return [_saved(Image.fromarray(one), "PNG") for one in levels]


def png_bomb(side: int) -> bytes:
    """A PNG of ``side`` x ``side`` black pixels in bits: a thousandth of its size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
