"""End a process with the one that it works for, however that one ends.

Two means, as neither is enough alone. Linux sends a signal of our choice when a process's parent
ends (prctl(2), PR_SET_PDEATHSIG): that ends a process that is stopped, too, but knows only the
parent, or rather the parent's thread that started it. The end of a connection is seen everywhere,
whoever the parent is, but by a process that runs only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

#: Seconds without a sign of life after which a process that trains is taken to hang. Signs are
#: the beginning of a run and the end of each round, so that this is a limit for one round.
WORKER_TIMEOUT = 1800.0
#: The most that may be asked for: a month.
LONGEST_TIMEOUT = 30 * 86400.0

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent(parent: int | None = None) -> None:
    """Have Linux kill this process, even amid work, when its parent ends; elsewhere do nothing.

    ``parent`` is the process id that the parent had when it started this process: where another
    is found, the parent has ended in the meantime, and so does this process.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it was quicker
        os._exit(1)


def follow(next_message: Callable[[], bytes], take: Callable[[bytes], None]) -> None:
    """Hand each message to ``take`` in a thread; kill this process where the sender has ended.

    ``next_message`` waits for a message and raises EOFError or OSError once nobody is left to send
    one. The process is killed in the middle of whatever it does.
    """

    def listen() -> None:
        while True:
            try:
                message = next_message()
            except (EOFError, OSError):
                end_now()
            take(message)

    threading.Thread(target=listen, name="fedcore-lifeline", daemon=True).start()


def end_now() -> None:
    """End this process at once: no handler runs, nothing is flushed."""
    if sys.platform == "win32":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL)
