"""What benchmark.gpu measures: each measurement in its own guard and box, written down at once."""

from __future__ import annotations

import gc
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from fedcore.engine.execution import choose_device
from fedcore.harness.measuring.rounds import clock

from .boxes import TimeBoxEnded, time_box

T = TypeVar("T")
#: Beside the sections: the most memory of the device that a measurement has taken.
PEAKS = "peak device bytes"
#: Seconds below which a measurement is not begun.
LEAST = 0.5


class Measurements:
    """Values by section and name, in ``path``, below what ``head`` says of the machine.

    ``failed`` is whether any measurement ended in an error, which then stands in its place. A
    measurement that has no time left before ``deadline`` (time.monotonic), or that its box ends, is
    ``left out``, with the reason; that is no failure.
    """

    def __init__(self, path: Path, head: dict[str, Any], device: torch.device) -> None:
        self.path, self.head, self.device = path, head, device
        self.sections: dict[str, dict[str, Any]] = {}
        self.peaks: dict[str, dict[str, int | None]] = {}
        self.failed = False
        self.deadline = math.inf

    def take(self, section: str, name: str, measure: Callable[[], T]) -> T | None:
        """What ``measure`` returns, noted; None if it failed or was left out.

        On CUDA the peak memory of the device is noted, too.
        """
        left = self.deadline - time.monotonic()
        if left < LEAST:
            self.note(section, name, {"left out": "no time is left"})
            return None
        cuda = self.device.type == "cuda"
        gc.collect()
        if cuda:  # what others left in the cache is neither free to this one nor its own
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = time.perf_counter()
        value: T | None = None
        noted: Any = None
        try:
            if math.isinf(left):
                noted = value = measure()
            else:
                with time_box(left):
                    noted = value = measure()
        except TimeBoxEnded as ended:
            noted = {"left out": str(ended)}
        except Exception as error:  # the others are worth having all the same
            noted = {"error": f"{type(error).__name__}: {error}"}
            self.failed = True
        seconds = time.perf_counter() - begun
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else None
        self.peaks.setdefault(section, {})[name] = peak
        self.note(section, name, noted, f" ({seconds:.0f} s)")
        return value

    def note(self, section: str, name: str, value: Any, remark: str = "") -> None:
        """Keep ``value``, print it, and write all that there is, never half a file."""
        self.sections.setdefault(section, {})[name] = value
        print(f"{section}, {name}{remark}: {value}", flush=True)
        report = {**self.head, **self.sections, PEAKS: self.peaks}
        whole = self.path.with_suffix(".part")
        whole.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(whole, self.path)


@dataclass(frozen=True)
class Setting:
    """Where sections measure; ``tiny`` shrinks them to what a test can wait for."""

    device: str
    data_dir: Path
    tiny: bool
    log: Measurements

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return choose_device(self.device).type == "cuda"

    @property
    def engines(self) -> tuple[str, ...]:
        """The stacked engines that the device has."""
        return ("stacked", "stacked-graphs") if self.cuda else ("stacked",)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The float precisions that training is measured in."""
        return ("float32", "tf32", "bfloat16") if self.cuda else ("float32",)

    def now(self) -> float:
        """The time, once the device has done what it was given."""
        return clock(choose_device(self.device))()

    def timed(self, work: Callable[[], T]) -> tuple[T, dict[str, float]]:
        """The result of ``work``, and its seconds: by the clock and, on CUDA, by events.

        Both begin and end when the device has nothing left to do.
        """
        if not self.cuda:
            begun = time.perf_counter()
            result = work()
            return result, {"seconds": time.perf_counter() - begun}
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun = self.now()
        first.record()
        result = work()
        torch.cuda.synchronize()  # streams of graphs, too
        last.record()
        taken = self.now() - begun
        return result, {"seconds": taken, "event seconds": first.elapsed_time(last) / 1e3}
