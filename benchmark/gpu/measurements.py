"""What benchmark.gpu measures: each measurement on its own, written down as soon as it is there."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from fedcore.engine.execution import choose_device
from fedcore.harness.measuring.rounds import clock

T = TypeVar("T")
#: Beside the sections: the most memory of the device that a measurement has taken.
PEAKS = "peak device bytes"


class Measurements:
    """Values by section and name, in ``path``, below what ``head`` says of the machine.

    ``failed`` is whether any measurement ended in an error, which then stands in its place.
    """

    def __init__(self, path: Path, head: dict[str, Any], device: torch.device) -> None:
        self.path, self.head, self.device = path, head, device
        self.sections: dict[str, dict[str, Any]] = {}
        self.peaks: dict[str, dict[str, int | None]] = {}
        self.failed = False

    def take(self, section: str, name: str, measure: Callable[[], T]) -> T | None:
        """What ``measure`` returns, noted; None if it failed. On CUDA its peak memory, too."""
        cuda = self.device.type == "cuda"
        gc.collect()
        if cuda:  # what others left in the cache is neither free to this one nor its own
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = time.perf_counter()
        value, told = None, None
        try:
            told = value = measure()
        except Exception as error:  # the others are worth having all the same
            told = {"error": f"{type(error).__name__}: {error}"}
            self.failed = True
        seconds = time.perf_counter() - begun
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else None
        self.peaks.setdefault(section, {})[name] = peak
        self.note(section, name, told, f" ({seconds:.0f} s)")
        return value

    def note(self, section: str, name: str, value: Any, remark: str = "") -> None:
        """Keep ``value``, say it, and write all that there is."""
        self.sections.setdefault(section, {})[name] = value
        print(f"{section}, {name}{remark}: {value}", flush=True)
        report = {**self.head, **self.sections, PEAKS: self.peaks}
        self.path.write_text(json.dumps(report, indent=1) + "\n")


@dataclass(frozen=True)
class Setting:
    """Where sections measure; ``tiny`` shrinks them to what a test can wait for."""

    device: str
    data_dir: Path
    tiny: bool
    log: Measurements

    @property
    def engines(self) -> tuple[str, ...]:
        """The stacked engines that the device has."""
        cpu = choose_device(self.device).type == "cpu"
        return ("stacked",) if cpu else ("stacked", "stacked-graphs")

    def now(self) -> float:
        """The time, once the device has done what it was given."""
        return clock(choose_device(self.device))()
