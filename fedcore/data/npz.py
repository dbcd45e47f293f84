"""Reading the arrays of an npz file with the keys of MedMNIST.

The file may be anybody's. What it says of itself is read first: the table of its members, then the
header of each array, a few bytes; an array is expanded only once all of this holds together and is
within `fedcore.outside.limits`.
"""

from __future__ import annotations

import errno
import math
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from fedcore.data.places import is_file, opened, printable, unreadable
from fedcore.errors import DataError
from fedcore.outside import limits
from fedcore.outside.archive import zip_archive

KEYS: Final = ("train_images", "train_labels", "test_images", "test_labels")
NAMES: Final = "class_names"  # strings, one a class; may be left out
_SYSTEM: Final = (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ESTALE)
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that numpy writes
_METHODS: Final = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}
_KINDS: Final = "biufUS"  # of numbers and of texts
_ENCRYPTED: Final = 1  # a bit of a member's flags
_HEADER_BYTES: Final = 10_000
_ITEM_BYTES: Final = 4096  # of a class's name
_SHOWN: Final = 8


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `KEYS` in the file at ``path``, and `NAMES` if there; others are not read.

    Raises `DataError` where the file is missing, not to be read, truncated, no npz archive, lacks a
    key or has it twice, is encrypted or compressed in another way than numpy's, where an array is
    not of plain numbers or texts, and where the arrays would take more memory than
    `fedcore.outside.limits` allows.
    """
    if not is_file(path):
        raise DataError(f"{path}: there is no such file; correct the path or put the file there")
    try:
        with opened(path) as file:
            return _arrays(file, path)
    except DataError:
        raise
    except Exception as error:  # of a damaged archive come many types
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            raise unreadable(path, error) from error
        raise DataError(
            f"{path}: cannot be read as an npz archive ({type(error).__name__}: "
            f"{printable(error)[:200]}); the file is truncated or corrupt: fetch or write it again"
        ) from error


@dataclass(frozen=True)
class _Stated:
    """What an archive says of one array."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


def _arrays(file: BufferedReader, path: Path) -> dict[str, npt.NDArray[Any]]:
    magic = file.read(len(np.lib.format.MAGIC_PREFIX))
    if magic == np.lib.format.MAGIC_PREFIX:
        raise DataError(f"{path}: must be an npz archive, got one bare array; use numpy.savez")
    file.seek(0)
    with zip_archive(file) as archive:
        members = _members(archive, path)
        stated = {key: _stated(archive, member, path, key) for key, member in members.items()}
        _check_sizes(list(stated.values()), os.fstat(file.fileno()).st_size, path)
        return {key: _read(archive, one, path, key) for key, one in stated.items()}


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members that hold the arrays wanted."""
    names = Counter(_key(member.filename) for member in archive.infolist())
    missing = [key for key in KEYS if key not in names]
    if missing:
        shown = ", ".join(printable(name)[:40] for name in list(names)[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
        raise DataError(
            f"{path}: must hold the arrays {', '.join(KEYS)}; {', '.join(missing)} missing among "
            f"{shown or 'none'}{more}; store them under these names"
        )
    wanted = [key for key in (*KEYS, NAMES) if key in names]
    if twice := [key for key in wanted if names[key] > 1]:
        raise DataError(
            f"{path}: must hold each array once, got {', '.join(twice)} more than once; which one "
            "is meant cannot be told: write the file again with numpy.savez"
        )
    found = {_key(member.filename): member for member in archive.infolist()}
    for key in wanted:
        _check_packing(found[key], path, key)
    return {key: found[key] for key in wanted}


def _key(name: str) -> str:
    return name.removesuffix(".npy")


def _check_packing(member: zipfile.ZipInfo, path: Path, key: str) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{path}, {key}: must not be encrypted; unpack the archive with its password, and "
            "write the arrays again with numpy.savez"
        )
    if member.compress_type not in _COMPRESSIONS:
        kind = _METHODS.get(member.compress_type, f"method {member.compress_type}")
        raise DataError(
            f"{path}, {key}: must be stored or deflated, as numpy.savez and "
            f"numpy.savez_compressed do, got {kind}; write the arrays again with one of these"
        )


def _stated(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, key: str) -> _Stated:
    """What the header of an array says, which fits the size of its member."""
    with archive.open(member) as content:
        shape, fortran, dtype = _header(content)
        begin = content.tell()
    if dtype.hasobject:
        raise DataError(
            f"{path}, {key}: Object arrays cannot be loaded, as they are programs (pickles); "
            "store numbers"
        )
    if dtype.kind not in _KINDS or dtype.itemsize > _ITEM_BYTES:
        raise DataError(
            f"{path}, {key}: must be an array of numbers or short texts, got "
            f"{printable(dtype)[:80]}; store plain numbers"
        )
    stated = _Stated(member, shape, dtype, fortran)
    if len(shape) > limits.ARRAY_NDIM or any(side < 0 for side in shape):
        raise DataError(
            f"{path}, {key}: must have 1 to {limits.ARRAY_NDIM} dimensions >= 0, got shape "
            f"{list(shape[:_SHOWN])}; write it again"
        )
    if begin + stated.size != member.file_size:
        raise DataError(
            f"{path}, {key}: its header claims shape {list(shape)} of {dtype}, thus "
            f"{limits.size_text(stated.size)}, and the archive holds "
            f"{limits.size_text(member.file_size - begin)} for it; the file is truncated or "
            "corrupt: fetch or write it again"
        )
    return stated


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"its arrays have format {version}, of which none is of plain numbers")
    return readers[version](content, max_header_size=_HEADER_BYTES)


def _check_sizes(stated: Sequence[_Stated], packed: int, path: Path) -> None:
    """Refuse what is too much for this machine, or for a file of ``packed`` bytes."""
    total = sum(one.size for one in stated)
    if total > limits.data_bytes():
        raise DataError(
            f"{path}: its arrays may take {limits.size_text(limits.data_bytes())}, half of this "
            f"machine's memory, got {limits.size_text(total)}; take fewer or smaller images"
        )
    if total > limits.EXPANDED_FREELY and total > limits.EXPANSION * packed:
        raise DataError(
            f"{path}: may expand to {limits.EXPANSION} times its size, got "
            f"{limits.size_text(total)} from {limits.size_text(packed)}; images do not compress "
            "like this: if they are meant, store them with numpy.savez, uncompressed"
        )


def _read(archive: zipfile.ZipFile, stated: _Stated, path: Path, key: str) -> npt.NDArray[Any]:
    """The array, whose header has been checked."""
    with archive.open(stated.member) as content:
        _header(content)
        stream: Any = content
        buffer = bytearray(stated.size)
        view, filled = memoryview(buffer), 0
        while filled < stated.size:
            count = stream.readinto(view[filled : filled + (16 << 20)])
            if not count:
                raise DataError(
                    f"{path}, {key}: ends after {filled} of {stated.size} bytes; the file is "
                    "truncated or corrupt: fetch or write it again"
                )
            filled += count
        if content.read(1):  # reads to the end, where the checksum is compared
            raise DataError(f"{path}, {key}: goes on after its last number; write it again")
    flat = np.frombuffer(buffer, stated.dtype) if stated.size else np.empty(0, stated.dtype)
    return flat.reshape(stated.shape, order="F" if stated.fortran else "C")
