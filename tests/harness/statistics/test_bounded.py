from __future__ import annotations

import math

import pytest

from fedcore.harness.statistics.bounded import bounded_estimate
from fedcore.harness.statistics.estimates import Noise, estimate

PERCENT = (0.0, 100.0)


def test_is_students_interval_within_the_bounds() -> None:
    values = [40.0, 55.0, 52.0, 47.0]
    found, plain = bounded_estimate(values, PERCENT), estimate(values, Noise(1, 0))
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))


def test_is_cut_to_what_is_possible() -> None:
    found = bounded_estimate([2.0, 60.0, 98.0], PERCENT)
    assert (found.low, found.high) == PERCENT


def test_alike_values_are_no_proof_of_no_deviation() -> None:
    # 2.2 points at least: 2.92 * 2.2 / sqrt(3)
    found = bounded_estimate([0.0, 0.0, 0.0], PERCENT, 2.2)
    assert (found.low, found.high) == (0.0, pytest.approx(2.919986 * 2.2 / math.sqrt(3)))
    assert bounded_estimate([15.0] * 3, PERCENT).half_width == 0  # of a constant, by design


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 values"):
        bounded_estimate([3.0], PERCENT)
