"""Time boxes: end a measurement, and the whole program, when its time is over."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType


class TimeBoxEnded(BaseException):
    """A measurement took longer than its box. No ``except Exception`` between may swallow it."""


@contextlib.contextmanager
def time_box(seconds: float) -> Iterator[None]:
    """Raise TimeBoxEnded in the body after ``seconds`` of wall time.

    By the process's alarm, which reaches Python code between two calls of torch: in the main thread
    of a POSIX system. Elsewhere the body runs without a box, and `last_call` ends the program.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ended(number: int, frame: FrameType | None) -> None:
        raise TimeBoxEnded(f"not done within {seconds:.1f} s")

    before = signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def last_call(deadline: float) -> Iterator[None]:
    """End the process with status 3 if the body still runs at ``deadline`` (time.monotonic).

    For a call that never comes back to Python, such as a kernel that hangs. Every measurement is
    on disk by then.
    """
    over = threading.Event()

    def watch() -> None:
        if not over.wait(max(0.0, deadline - time.monotonic())):
            print("time is over and a measurement does not end: stopped", file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)

    threading.Thread(target=watch, name="last-call", daemon=True).start()
    try:
        yield
    finally:
        over.set()
