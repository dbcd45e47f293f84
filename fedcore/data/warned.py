"""Warnings raised while data are read: counted and told in notes, whatever pytest or -W say."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Final

from fedcore.data.places import printable

_SHOWN: Final = 5  # different warnings in notes; the others are counted
_LONGEST: Final = 200  # characters of a warning's text


class Warned:
    """What `collecting` has caught so far."""

    def __init__(self, caught: list[warnings.WarningMessage]) -> None:
        self._caught = caught
        self._files: dict[int, str] = {}

    def about(self, file: str) -> None:
        """Say that what came since the last call is about ``file``."""
        for position in range(len(self._files), len(self._caught)):
            self._files[position] = file

    def notes(self) -> tuple[str, ...]:
        """A note for each different warning with its count and, if known, the first file."""
        groups: dict[str, list[str]] = {}
        for position, warning in enumerate(self._caught):
            text = " ".join(printable(" ".join(str(warning.message).split())).split())
            text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            key = f"{warning.category.__name__}: {text}"
            groups.setdefault(key, []).append(self._files.get(position, ""))
        notes = []
        for text, files in list(groups.items())[:_SHOWN]:
            times = "once" if len(files) == 1 else f"{len(files)} times"
            first = next(filter(None, files), None)
            where = "" if first is None else f" ({'first ' if len(files) > 1 else ''}at {first})"
            notes.append(f"warned {times} while data were read{where}: {text}")
        if len(groups) > _SHOWN:
            notes.append(f"{len(groups) - _SHOWN} more kinds of warnings while data were read")
        return tuple(notes)


class _Logged(logging.Handler):
    """Turns what Pillow logs as an error into warnings: else it is printed, of no file."""

    def emit(self, record: logging.LogRecord) -> None:
        warnings.warn(record.getMessage(), UserWarning, stacklevel=2)


@contextlib.contextmanager
def collecting() -> Iterator[Warned]:
    """Collect every warning raised within, and none of them becomes an error.

    So is what Pillow logs of an image, as a warning.
    """
    handler, logger = _Logged(logging.WARNING), logging.getLogger("PIL")
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield Warned(caught)
    finally:
        logger.removeHandler(handler)
        logger.propagate = passed_on
