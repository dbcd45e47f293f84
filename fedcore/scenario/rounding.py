"""Rounding of counts."""

from __future__ import annotations

import math


def round_half_up(value: float) -> int:
    """Rounding of every count that is a fraction of something: 2.5 -> 3, whatever the parity."""
    return math.floor(value + 0.5 + 1e-9)  # 1e-9: 0.3 * 5 must count as 1.5
