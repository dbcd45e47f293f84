"""A session that could not write what it had to does not end with status 0."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from fedcore.errors import FedcoreError

_SESSION = pytest.StashKey[pytest.Session]()
_FAILED = pytest.StashKey[bool]()
_GOOD = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def remember(session: pytest.Session) -> None:
    """After the tests, before the summary: the session whose status may have to change."""
    session.config.stash[_SESSION] = session
    if session.config.stash.get(_FAILED, False):
        note_unwritten(session.config)


def note_unwritten(config: pytest.Config) -> None:
    """Have the session fail, if nothing else makes it."""
    config.stash[_FAILED] = True
    session = config.stash.get(_SESSION, None)
    if session is not None and session.exitstatus in _GOOD:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@contextlib.contextmanager
def unwritten(config: pytest.Config, say: Callable[[str], object], what: str) -> Iterator[None]:
    """Write ``what``; where that fails ``say`` so, and have the session fail."""
    try:
        yield
    except (OSError, FedcoreError) as error:
        note_unwritten(config)
        say(f"{what} could not be written: {error}")
