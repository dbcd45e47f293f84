"""Ctrl-C and SIGTERM: the first one ends the work in order, the second one ends the process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM was sent to this process. Handled as Ctrl-C is, wherever that is handled."""


class Interrupts:
    """The handlers of one process; `install` and `restore` them in its main thread.

    The first signal raises KeyboardInterrupt (SIGINT) or `Terminated` (SIGTERM) in the main thread.
    The next one ends the process without another word of Python's: status 128 + its number. A
    signal that is ignored, as Ctrl-C is under nohup, stays so, and another's handler of SIGTERM
    stays, too.
    """

    def __init__(self) -> None:
        #: The first signal; None as long as there was none.
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Set the handlers; in a thread other than the main one, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        replaced = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number in _SIGNALS:
            if signal.getsignal(number) == replaced[number]:
                self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Set the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Interrupts]:
        """These handlers for a while."""
        self.install()
        try:
            yield self
        finally:
            self.restore()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            with contextlib.suppress(OSError):
                os.write(2, b"\nfedcore: ended at once\n")
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        if number == signal.SIGTERM:
            raise Terminated("SIGTERM")
        raise KeyboardInterrupt


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a process that ``interrupt`` has ended, as a shell gives it."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
