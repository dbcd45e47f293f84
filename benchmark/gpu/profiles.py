"""Where the time of a measurement goes, by torch.profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

from .measurements import Setting

ROWS = 12


def profiled(setting: Setting, work: Callable[[], Any]) -> list[dict[str, Any]]:
    """The `ROWS` operators of ``work`` that take the most time of the device itself, in ms.

    On a CPU, of the processor.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.cuda else [])]
    with profile(activities=activities) as recorded:
        work()
    key = "self_device_time_total" if setting.cuda else "self_cpu_time_total"
    events = sorted(recorded.key_averages(), key=lambda event: -getattr(event, key))
    return [
        {
            "operator": event.key,
            "calls": event.count,
            "device ms": round(event.self_device_time_total / 1e3, 3),
            "cpu ms": round(event.self_cpu_time_total / 1e3, 3),
        }
        for event in events[:ROWS]
    ]
