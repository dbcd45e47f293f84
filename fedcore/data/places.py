"""Paths of data: reading what is there, or a `DataError` that says what is in the way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from fedcore.errors import DataError
from fedcore.outside.files import kind_of, open_file
from fedcore.outside.paths import expanded as expanded
from fedcore.outside.paths import printable as printable

_DENIED: Final = (errno.EACCES, errno.EPERM)


def unreadable(path: str | os.PathLike[str], error: OSError) -> DataError:
    """The DataError for a place that the system does not let this process read."""
    reason = error.strerror or str(error) or type(error).__name__
    where = printable(path)
    if error.errno in _DENIED:
        return DataError(
            f"{where}: this user must have leave to read it, and the folders above it, got "
            f"{reason!r}; change its permissions (chmod u+rX), or copy the data to another place"
        )
    if error.errno == errno.ENAMETOOLONG:
        longest = max(len(os.fsencode(part)) for part in Path(path).parts)
        return DataError(
            f"{where[:60]}...: a path must be of a length that the system takes (mostly 255 bytes "
            f"for a name and 4095 in all), got {longest} for a name and {len(os.fsencode(path))} "
            "in all; correct it"
        )
    if error.errno == errno.ELOOP:
        return DataError(
            f"{where}: symbolic links must lead to a file, these lead in a circle; repair them"
        )
    return DataError(
        f"{where}: the system cannot read it ({type(error).__name__}: {reason}); correct the path, "
        "or repair or replace what lies there"
    )


@contextlib.contextmanager
def reading_from(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within it an OSError becomes the DataError of `unreadable`, naming the file it is about."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else path
        raise unreadable(place, error) from error


def mode_of(path: Path) -> int | None:
    """The mode bits of what ``path`` leads to, None if nothing is there; DataError if hidden."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # a null character, or text that no file name can be
        raise DataError(
            f"{printable(path)}: must be a path that the system takes ({error}); correct it"
        ) from error


def is_file(path: Path) -> bool:
    """Whether a regular file is at ``path``; DataError for anything else that is there."""
    mode = mode_of(path)
    if mode is None or stat.S_ISREG(mode):
        return mode is not None
    raise DataError(
        f"{printable(path)}: there is no such file, got {kind_of(mode)}; correct the path"
    )


def opened(path: Path, most: int | None = None) -> BufferedReader:
    """The file at ``path``, open for reading bytes; DataError where the system refuses.

    So for a file of more than ``most`` bytes, and for what is no file.
    """
    with reading_from(path):
        try:
            return open_file(path, most)
        except ValueError as error:
            raise DataError(
                f"{printable(path)}: {printable(error)}; correct the path, or take a smaller file"
            ) from error
