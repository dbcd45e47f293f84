"""Standard streams that may be closed, full, or unable to hold a character."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings
from typing import Any

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def prepare() -> str | None:
    """Make the standard streams fit for use; a message where nothing could be printed.

    A closed descriptor is opened on the null device, as the next file that is opened would take its
    number, and be written to by whoever prints. Characters that an encoding lacks, such as those of
    a path that is not UTF-8, are printed as escapes.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        with contextlib.suppress(OSError):
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # the lowest number
    if sys.stderr is None:  # print() would take standard output in its place
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        return "standard output is closed: send it somewhere, to /dev/null for instance"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return None


def tell(message: object) -> None:
    """Print ``fedcore: message`` on standard error; where that cannot be, nothing is said."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"fedcore: {message}", file=sys.stderr, flush=True)


def warn_in_one_line() -> None:
    """Have fedcore's own warnings printed as messages; who wrote which line says nothing then."""
    usual = warnings.formatwarning

    def formatted(message: Any, category: type[Warning], *place: Any, **more: Any) -> str:
        if category.__module__.partition(".")[0] == "fedcore":
            return f"fedcore: {' '.join(str(message).split())}\n"
        return usual(message, category, *place, **more)

    warnings.formatwarning = formatted


def lost_output(error: OSError) -> str | None:
    """Why standard output cannot be written to, None where ``error`` has another cause."""
    if error.filename is not None or error.errno not in _UNWRITABLE:
        return None
    try:
        print(flush=True)  # what failed may have gone from its buffer
    except OSError as again:
        return again.strerror or str(again)
    except ValueError as closed:
        return str(closed)
    return None


def discard_output() -> None:
    """Send what is left of standard output, and all that follows, to the null device."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
