"""Peak memory of what this process and its workers do: of a GPU, or of the processes (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from fedcore.harness.measuring.commands import proportional, tree

_PERIOD = 0.02  # seconds between two looks at the memory


def held_bytes(without: Collection[int] = ()) -> int:
    """PSS (proportional set size) of this process and its descendants but those in ``without``.

    What is freed is given back to the system first (glibc), so that it does not count, and what
    is taken later does. 0 where the kernel does not tell.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _held(without)


def peak_bytes(
    function: Callable[[], Any], device: torch.device, without: Collection[int] = ()
) -> int | None:
    """Bytes that were taken at most while ``function`` ran, what was there before included.

    On CUDA what torch allocated there in this process. On the CPU as `held_bytes`, looked at every
    20 ms, so that a shorter peak may be missed; None where the kernel does not tell. Looking costs
    time: do not time this call.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    seen, ended = [0], threading.Event()

    def watch() -> None:
        while True:
            seen.append(_held(without))
            if ended.wait(_PERIOD):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        ended.set()
        watcher.join()
    return max(seen)


def _held(without: Collection[int]) -> int:
    return sum(proportional(pid) for pid in tree(os.getpid()) if pid not in without)
