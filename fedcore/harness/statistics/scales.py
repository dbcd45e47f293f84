"""How far runs move between machine classes: scales by stratum, measured and recorded.

``platforms.toml`` beside this file is made by ``python -m benchmark.noise`` from replicates of the
same runs on several platforms; its head says by which commit and machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

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


def cauchy_scale(differences: Sequence[float]) -> float:
    """The scale of a Cauchy distribution around 0 that fits ``differences`` best (likelihood).

    The s with sum of s^2 / (s^2 + d^2) = n / 2; 0 where half of the differences or more are 0.
    ValueError without any.
    """
    d = np.abs(np.asarray(differences, np.float64))
    if d.size == 0 or not np.isfinite(d).all():
        raise ValueError(f"finite differences are needed, got {d}")
    if 2 * np.count_nonzero(d) <= d.size:
        return 0.0

    def excess(log_scale: float) -> float:
        square = math.exp(2 * log_scale)
        return float((square / (square + d**2)).sum()) - d.size / 2

    positive = d[d > 0]
    low, high = math.log(float(positive.min())) - 20, math.log(float(positive.max())) + 20
    return math.exp(float(brentq(excess, low, high)))
