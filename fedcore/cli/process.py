"""The command as a process: what comes before its first line and after its last one.

A run of seconds waits a second for these: for the garbage collector, which looks through a million
objects of imported code again and again, and for the end of the interpreter, which takes PyTorch
apart piece by piece.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Call ``main`` and end this process with the status that it returns; 1 if it raises.

    Threads are waited for, exit handlers run and streams are flushed, as at every end. What is left
    out is the destruction of modules and of their C++ objects, which took 0.4 s after torch.
    Call it first of all: handlers registered before are left out, too.
    """
    status = 1

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            # closed, or its reader has gone: nobody is left to tell
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(status)

    atexit.register(leave)  # handlers run in reverse order: registered first, it comes last
    status = main()
    sys.exit(status)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Imports without the garbage collector: they make nothing but what stays."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
