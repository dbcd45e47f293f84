"""Whether compiled kernels are used at all: FEDCORE_NATIVE for a process, `disabled` within one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

#: C files, without their suffix.
NAMES = ("pooling", "convolution_forward", "convolution_backward", "gram", "selection")

_disabled: frozenset[str] = frozenset()


def switched_off() -> bool:
    """Whether FEDCORE_NATIVE=0 asks for torch's operators alone."""
    return os.environ.get("FEDCORE_NATIVE") == "0"


@contextlib.contextmanager
def disabled(*names: str) -> Iterator[None]:
    """Within it, torch's operators stand in for the kernels of the files ``names``; () for all.

    Of this process, all its threads, and of processes forked meanwhile. A model that was built with
    kernels computes without them, too; the backward pass of what they computed takes theirs.
    Raises ValueError for a name that is not in `NAMES`.
    """
    global _disabled
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"names must be among {', '.join(NAMES)}, got {', '.join(unknown)}")
    before = _disabled
    _disabled = before | frozenset(names or NAMES)
    try:
        yield
    finally:
        _disabled = before


def off() -> frozenset[str]:
    """Those of `NAMES` that are disabled."""
    return _disabled
