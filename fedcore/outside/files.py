"""Opening what a user or another program has put somewhere: regular files, of a stated size."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from fedcore.outside.limits import size_text

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NoFileError(OSError):
    """Something else than a regular file; ``strerror`` says what."""

    def __init__(self, path: str | os.PathLike[str], mode: int) -> None:
        super().__init__(errno.EINVAL, f"this is {kind_of(mode)}, no file", os.fspath(path))


class TooLargeError(ValueError):
    """A file of more bytes than it may have."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"a file may have {size_text(most)} here, got {size_text(size)}")


def kind_of(mode: int) -> str:
    """``a named pipe``, ``a folder``, ...: what has the mode bits ``mode``."""
    return next((name for test, name in _KINDS if test(mode)), "no regular file")


def open_file(path: str | os.PathLike[str], most: int | None = None) -> BufferedReader:
    """The regular file at ``path``, open for reading bytes, with at most ``most`` of them.

    What lies there is looked at after it is open, so that nothing can take its place, and a named
    pipe that nobody writes to is not waited for. Raises OSError (`NoFileError` for anything but a
    file), `TooLargeError`, and ValueError for text that is no path.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NoFileError(path, status.st_mode)
        if most is not None and status.st_size > most:
            raise TooLargeError(status.st_size, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of the file at ``path``; as `open_file` where that cannot be had."""
    with open_file(path, most) as file:
        content = file.read(most + 1)  # files of /proc have no size
    if len(content) > most:
        raise TooLargeError(len(content), most)
    return content


def read_text(path: str | os.PathLike[str], most: int) -> str:
    """The content of the UTF-8 file at ``path``; OSError or ValueError where that cannot be had."""
    return read_bytes(path, most).decode("utf-8")


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path``, with its links followed, lies in ``folder``, with its links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


@contextlib.contextmanager
def as_value_errors() -> Iterator[None]:
    """Within it what damaged content makes a library raise becomes a ValueError.

    An OSError, a MemoryError and what is no Exception stay what they are.
    """
    try:
        yield
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
