"""Zip archives whose table of members has a stated size."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from fedcore.outside.limits import ZIP_TABLE_BYTES


class _ShortReads:
    """A file that gives no more than ``most`` bytes at once."""

    def __init__(self, file: BufferedReader, most: int) -> None:
        self._file, self.most = file, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if not -1 <= size <= self.most:
            raise ValueError(f"its table of members may have {self.most} bytes, got {size}")
        return self._file.read(size)


@contextlib.contextmanager
def zip_archive(file: BufferedReader) -> Iterator[zipfile.ZipFile]:
    """The archive in ``file``, whose table of members has at most `ZIP_TABLE_BYTES`.

    zipfile reads the table in one piece, of whatever size the file says, and makes an object of
    each entry. Raises ValueError for a larger one; BadZipFile and others where there is none.
    """
    short: Any = _ShortReads(file, ZIP_TABLE_BYTES)
    with zipfile.ZipFile(short) as archive:
        short.most = 1 << 62
        yield archive
