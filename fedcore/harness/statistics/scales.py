"""How far runs move between machine classes: scales by stratum, measured and recorded.

``platforms.toml`` beside this file is made by ``python -m benchmark.noise`` from replicates of the
same runs on several platforms; its head says by which commit and machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from fedcore.errors import FedcoreError
from fedcore.records.tables import read_toml
from fedcore.scenario import Scenario

FILE = Path(__file__).with_name("platforms.toml")


class ScaleError(FedcoreError, ValueError):
    """A file of scales that cannot be read or breaks a rule."""


def stratum(scenario: Scenario, metric: str = "accuracy") -> str:
    """The stratum of differences in ``metric`` of ``scenario``: its partition's kind, or "asr"."""
    return "asr" if metric == "asr" else scenario.partition


@functools.cache
def platform_scales(path: Path = FILE) -> Mapping[str, float]:
    """Scales in percentage points by stratum, for `portable.compare_sessions`.

    Raises `ScaleError` for a file that cannot be read or holds anything but positive numbers.
    """
    content = read_toml(path, "platform scales", ScaleError)
    scales = content.get("scale")
    if not isinstance(scales, dict) or not scales:
        raise ScaleError(f"platform scales {path}: a table [scale] with numbers is needed")
    for name, value in scales.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ScaleError(f"platform scales {path}: {name} must be > 0, got {value!r}")
    return {name: float(value) for name, value in scales.items()}
