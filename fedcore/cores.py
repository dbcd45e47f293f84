"""What a user may compute on: devices by name, and cores. Imports nothing heavy."""

from __future__ import annotations

import os
from typing import Final

#: Names of devices that a user may ask for.
DEVICES: Final = ("auto", "cpu", "cuda")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
