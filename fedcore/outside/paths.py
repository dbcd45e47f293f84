"""Paths as users write them, and as messages show them."""

from __future__ import annotations

import os
from pathlib import Path

from fedcore.cache_folder import home
from fedcore.errors import DataError


def printable(text: object) -> str:
    """``text`` with escapes in place of bytes that are not UTF-8 and of control characters."""
    decodable = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in decodable)


def expanded(path: str | os.PathLike[str]) -> Path:
    """``path`` with ``~`` and ``~user`` replaced; DataError where that user has no home here."""
    try:
        if os.fspath(path).startswith("~") and not os.environ.get("HOME"):
            # of an empty $HOME Python makes the root of the file system
            parts = Path(path).parts
            if parts[0] == "~":
                return home().joinpath(*parts[1:])
        return Path(path).expanduser()
    except (RuntimeError, FileNotFoundError) as error:
        raise DataError(
            f"{printable(path)}: '~' must stand for the home of a user of this machine, and there "
            "is none for this name; write the path out"
        ) from error
