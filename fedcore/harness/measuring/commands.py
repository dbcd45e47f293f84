"""A command from a cold start: its wall time, or the peak memory of all its processes (Linux)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from fedcore.errors import FedcoreError

_PERIOD = 0.02  # seconds between two looks at the memory


def seconds(command: Sequence[str]) -> float:
    """Wall time of ``command``, start of the interpreter included. FedcoreError if it fails."""
    begun = time.perf_counter()
    with _started(command) as process:
        _finish(process, command)
    return time.perf_counter() - begun


def peak_memory(command: Sequence[str]) -> int:
    """Bytes that ``command`` and its descendants took at most, shared pages counted once.

    The sum over processes of PSS (proportional set size, ``smaps_rollup`` of the kernel), looked at
    every 20 ms, so that a shorter peak may be missed. Looking costs time: do not time this run.
    """
    peak = 0
    with _started(command) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(proportional, tree(process.pid))))
            time.sleep(_PERIOD)
        _finish(process, command)
    return peak


def high_water(command: Sequence[str]) -> int:
    """Bytes of memory that ``command``, a single process, had resident at most (VmHWM).

    The kernel keeps that peak, so that none is missed between two looks; what a process takes in
    its last 20 ms may be. Shared pages count whole: compare commands that load the same libraries.
    """
    peak = 0
    with _started(command) as process:
        while process.poll() is None:
            peak = max(peak, _status(process.pid, "VmHWM:"))
            time.sleep(_PERIOD)
        _finish(process, command)
    return peak


def tree(pid: int) -> list[int]:
    """``pid`` and its descendants; those that end while it looks may be missing."""
    found = [pid]
    for one in found:
        for tasks in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                continue
    return found


def proportional(pid: int) -> int:
    """PSS of process ``pid`` in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _status(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, close_fds=True
    )


def _finish(process: subprocess.Popen[str], command: Sequence[str]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise FedcoreError(
            f"{' '.join(command)} ended with status {process.returncode}: {errors.strip()}"
        )
