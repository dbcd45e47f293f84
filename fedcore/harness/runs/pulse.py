"""The sign of life of a process that makes runs: one for each round, to whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_listener: Callable[[], object] | None = None


def listen(listener: Callable[[], object] | None) -> None:
    """Have `beat` call ``listener`` from now on in this process; None: nobody."""
    global _listener
    _listener = listener


def beat(_report: Any = None) -> None:
    """Say that this process lives; fits ``on_round`` of `fedcore.run`."""
    if _listener is not None:
        _listener()
