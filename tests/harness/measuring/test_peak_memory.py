from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fedcore.harness.measuring import peak_memory as memory
from fedcore.harness.measuring.peak_memory import held_bytes, peak_bytes

CPU = torch.device("cpu")
MEGABYTES = 100
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell PSS"
)


def take() -> None:
    kept = torch.ones(MEGABYTES * 250_000)  # float32, written to
    time.sleep(0.2)  # seen for sure
    del kept


def test_what_is_taken_and_freed_counts() -> None:
    before = held_bytes()
    peak = peak_bytes(take, CPU)
    assert peak is not None
    assert 0.9 * MEGABYTES < (peak - before) / 1e6 < 1.3 * MEGABYTES
    assert abs(held_bytes() - before) / 1e6 < 0.3 * MEGABYTES


def test_other_processes_count_unless_they_are_left_out() -> None:
    code = f"kept = b'1' * {MEGABYTES * 1_000_000}; print(flush=True); input()"
    before = held_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown = held_bytes() - before
        without = held_bytes((child.pid,)) - before
        child.communicate(b"\n")
    assert grown / 1e6 > 0.9 * MEGABYTES
    assert without / 1e6 < 0.3 * MEGABYTES


def test_a_failure_ends_the_looking() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        peak_bytes(fail, CPU)


def test_a_gpu_tells_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: heard.append("reset"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: heard.append("wait"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 12)
    assert memory.peak_bytes(lambda: heard.append("work"), torch.device("cuda")) == 12
    assert heard == ["reset", "work", "wait"]
