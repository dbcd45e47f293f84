"""Paths as users write them, and as messages show them."""

from __future__ import annotations

import os
from pathlib import Path

from fedcore.errors import DataError


def printable(text: object) -> str:
    """``text`` with escapes in place of bytes that are not UTF-8 and of control characters."""
    decodable = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in decodable)


def expanded(path: str | os.PathLike[str]) -> Path:
    """``path`` with ``~`` and ``~user`` replaced; DataError where that user has no home here."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(
            f"{printable(path)}: '~' must stand for the home of a user of this machine, and there "
            "is none for this name; write the path out"
        ) from error
