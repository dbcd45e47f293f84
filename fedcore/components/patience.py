"""Imports of modules that others wrote, for which no more than a stated time is waited.

Such a module may sleep, ask a server that is silent, or wait for input. While a module is imported
its thread is looked at twice a second: one that has neither computed nor waited for a processor for
`IDLE_SECONDS` waits for something that may never come.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fedcore.outside.limits import IDLE_SECONDS, IMPORT_SECONDS

_LOOK_SECONDS: Final = 0.5
_BUSY: Final = 0.05  # share of its time in which a thread that gets on computes, at the least
_SCHEDULED: Final = Path("/proc/thread-self/schedstat")  # ns on a processor, ns waiting for one


class ImportTimeError(BaseException):
    """A module that is not imported in time. No Exception: the module may catch those."""


@contextlib.contextmanager
def impatient(seconds: float | None = None, idle_seconds: float | None = None) -> Iterator[None]:
    """Within it `ImportTimeError` is raised after ``seconds``, or ``idle_seconds`` of idleness.

    The defaults are `IMPORT_SECONDS` and `IDLE_SECONDS`. Only the main thread of a process can be
    interrupted; elsewhere, and where a timer of somebody else runs already, nothing is done.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
        or signal.getitimer(signal.ITIMER_REAL)[0]
    ):
        yield
        return
    watch = _Watch(
        IMPORT_SECONDS if seconds is None else seconds,
        IDLE_SECONDS if idle_seconds is None else idle_seconds,
    )
    before = signal.signal(signal.SIGALRM, watch.look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Watch:
    """When the import began, and what its thread had computed at the looks since."""

    def __init__(self, seconds: float, idle_seconds: float) -> None:
        self._seconds, self._idle_seconds = seconds, idle_seconds
        self._begin = time.monotonic()
        self._looks: deque[tuple[float, float]] = deque([(self._begin, _worked())])

    def look(self, *_: Any) -> None:
        now, worked = time.monotonic(), _worked()
        if now - self._begin > self._seconds:
            raise ImportTimeError(f"it takes longer than {self._seconds:g} s")
        self._looks.append((now, worked))
        while len(self._looks) > 1 and now - self._looks[1][0] >= self._idle_seconds:
            self._looks.popleft()
        then, before = self._looks[0]
        passed = now - then
        if passed >= self._idle_seconds and worked - before < _BUSY * passed:
            raise ImportTimeError(f"it has waited for {self._idle_seconds:g} s, computing nothing")


def _worked() -> float:
    """Seconds in which this thread has computed or waited for a processor."""
    try:
        running, waiting = _SCHEDULED.read_text(encoding="ascii").split()[:2]
        return (int(running) + int(waiting)) / 1e9
    except (OSError, ValueError):
        return time.thread_time()
