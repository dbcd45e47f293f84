"""Run suite after suite in one process, and hold its memory and handles to what they were."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability import sessions

#: Suites that warm caches before anything is compared.
WARM = 2
#: Growth of resident memory that is no leak, in MiB a suite: allocators keep fragments.
MEMORY = 2.0


@dataclass(frozen=True)
class Footprint:
    """What this process holds: resident memory in MiB, open handles, threads, children."""

    memory: float
    handles: int
    threads: int
    children: int

    @classmethod
    def now(cls) -> Footprint:
        """Of this moment."""
        gc.collect()
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        own = str(os.getpid())
        children = 0
        for entry in Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children += entry.name.isdigit() and stat[1] == own and stat[0] != "Z"
        return cls(
            int(status["VmRSS"].split()[0]) / 1024,
            len(os.listdir("/proc/self/fd")),
            int(status["Threads"]),
            children,
        )


def soak(folder: Path, times: int) -> int:
    """Run the suite ``times`` times with two workers, print footprints; 1 where they grow."""
    sessions.write_suite(folder, rounds=4)
    os.chdir(folder)
    seen: list[Footprint] = []
    for number in range(times):
        arguments = ["-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:benchmark"]
        arguments += ["-p", "fedcore.harness.plugin", "--device=cpu", "--jobs=2", "--fresh"]
        sys.modules.pop("test_suite", None)
        status = pytest.main([*arguments, f"--results=soak{number}", "test_suite.py"])
        if status:
            print(f"suite {number} ended with status {status}")
            return 1
        seen.append(Footprint.now())
        print(f"suite {number}: {seen[-1]}", flush=True)
    first, last = seen[min(WARM, times) - 1], seen[-1]
    more = (last.memory - first.memory) / max(1, times - WARM)
    flat = more <= MEMORY and (last.handles, last.threads, last.children) == (
        first.handles,
        first.threads,
        first.children,
    )
    print(f"{times} suites, {more:+.2f} MiB a suite after {WARM}: {'flat' if flat else 'GROWS'}")
    return not flat


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--times", type=int, default=10, help="suites (10)")
