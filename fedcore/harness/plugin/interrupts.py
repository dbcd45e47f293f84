"""Ctrl-C and SIGTERM in a session: the workers end at once, and the summary says what is kept."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from fedcore.harness.plugin.xdist import is_worker
from fedcore.interrupts import Interrupts

if TYPE_CHECKING:
    from fedcore.harness.suite.lab import Lab

_NAME = "fedcore.interrupts"


class SessionInterrupts:
    """The handlers of a session with a lab, and the plugin that pytest tells of an interrupt.

    After the first signal pytest ends as after Ctrl-C, with tables, reports and status 2; the next
    one ends the process at once. Under pytest-xdist the controller is interrupted, and ends its
    workers.
    """

    def __init__(self, config: pytest.Config, lab: Lab, remarks: list[str]) -> None:
        self._lab, self._remarks = lab, remarks
        self._handlers = Interrupts()
        self._plugins = config.pluginmanager
        self._fulltrace = config.option.fulltrace
        #: Whether the session was interrupted.
        self.happened = False
        if not is_worker(config):
            self._handlers.install()
        self._plugins.register(self, _NAME)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """End the workers, and have the summary say what is stored and what is lost."""
        if isinstance(excinfo.value, KeyboardInterrupt):  # not of pytest.exit
            self.happened = True
            if not self._fulltrace:  # pytest would show the last entry, after working on all
                excinfo.traceback = excinfo.traceback[-1:]
            cause = "SIGTERM" if self._handlers.signal == signal.SIGTERM else "Ctrl-C"
            self._remarks.append(f"interrupted by {cause}: {self._lab.abandon()}")

    def close(self) -> None:
        """Set the handlers back that were there before."""
        self._plugins.unregister(self)
        self._handlers.restore()
