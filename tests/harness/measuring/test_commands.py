from __future__ import annotations

import os
import sys

import pytest

from fedcore.errors import FedcoreError
from fedcore.harness.measuring import commands as cold

NAP = [sys.executable, "-S", "-c", "import time; time.sleep(0.3)"]
# a child that holds 64 MiB beside a parent that holds nearly nothing
FAMILY = """
import os, time
block = None
if os.fork() == 0:
    block = b"x" * (64 << 20)
    time.sleep(0.5)
    os._exit(0)
os.wait()
"""
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="the kernel tells no PSS"
)


def test_seconds_hold_the_whole_command() -> None:
    assert 0.3 < cold.seconds(NAP) < 30


def test_a_command_that_fails_is_no_timing() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no data')"]
    with pytest.raises(FedcoreError, match="ended with status 1: no data"):
        cold.seconds(command)
    with pytest.raises(FedcoreError, match="ended with status 1: no data"):
        cold.peak_memory(command)


@needs_proc
def test_memory_of_descendants_counts() -> None:
    peak = cold.peak_memory([sys.executable, "-S", "-c", FAMILY])
    assert 64 << 20 < peak < 128 << 20


@needs_proc
def test_the_high_water_mark_keeps_a_peak_of_a_moment() -> None:
    """64 MiB that are held for less than the time between two looks."""
    spike = "block = b'x' * (64 << 20); del block; import time; time.sleep(0.3)"
    command = [sys.executable, "-S", "-c", spike]
    peaks = [cold.high_water(command) for _ in range(3)]
    assert min(peaks) > 64 << 20
    assert max(peaks) - min(peaks) < 2 << 20


def test_what_fails_has_no_high_water_mark() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no data')"]
    with pytest.raises(FedcoreError, match="ended with status 1: no data"):
        cold.high_water(command)


@needs_proc
def test_what_has_ended_takes_nothing() -> None:
    assert cold.proportional(2**22 + 1) == 0
    assert cold.tree(os.getpid())[0] == os.getpid()
    assert cold.proportional(os.getpid()) > 1 << 20
