"""Levels, rounds to a level and areas of curves, by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from fedcore import Scenario, run
from fedcore.harness.statistics.curves import Reached, area, curve, level_at, rounds_to, until
from fedcore.harness.statistics.estimates import Noise

accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def of(*accuracy: float, every: int = 1) -> Any:
    rounds = tuple(range(every, every * len(accuracy) + 1, every))
    return SimpleNamespace(rounds=rounds, accuracy=accuracy)


RISE = of(0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.9, 0.8, 0.9, 1.0)


def test_the_level_at_a_horizon_by_hand() -> None:
    # of ten rounds the last three, of five the last two, of three the last one
    assert level_at(RISE) == level_at(RISE, 10) == pytest.approx((0.8 + 0.9 + 1.0) / 3)
    assert level_at(RISE, 5) == pytest.approx((0.7 + 0.8) / 2)
    assert level_at(RISE, 3) == 0.5
    assert level_at(of(0.2, 0.4, 0.6, every=5), 10) == 0.4


def test_the_level_is_that_of_a_shorter_run() -> None:
    long = Scenario(
        dataset="synthetic:300", model="mlp", num_clients=4, rounds=7, attack="signflip",
        malicious_fraction=0.25,
    )  # fmt: skip
    record = run(long, 0)
    for horizon in (1, 4, 7):
        assert level_at(record, horizon) == run(long.but(rounds=horizon), 0).tail_accuracy


def test_rounds_to_a_level_by_hand() -> None:
    assert rounds_to(RISE, 0.4) == pytest.approx(2.5)  # half way from round 2 to round 3
    assert rounds_to(RISE, 0.75) == pytest.approx(4.5)
    assert rounds_to(RISE, 0.5) == 3
    assert rounds_to(RISE, 0.9) == 6  # for the first time, though it falls again
    assert rounds_to(of(0.2, 0.4, 0.6, every=5), 0.45) == pytest.approx(11.25)


def test_what_was_reached_before_the_first_round_or_never() -> None:
    assert rounds_to(RISE, 0.05) == 1  # nothing was measured before it
    assert rounds_to(of(0.2, 0.4, every=5), 0.1) == 5
    assert rounds_to(RISE, 0.95, 9) is None
    assert rounds_to(RISE, 0.95) == pytest.approx(9.5)


def test_a_censored_seed_is_later_than_the_others() -> None:
    assert Reached(10, (2.0, 4.0, 9.0)).median == 4
    assert Reached(10, (2.0, None, 9.0)).median == 9
    assert Reached(10, (2.0, None, 9.0)).censored == 1
    assert Reached(10, (2.0, None, None)).median is None
    assert Reached(10, (2.0, 3.0)).median == 2.5
    assert Reached(10, (2.0, None)).median is None  # half of a number and of more than the horizon


def test_the_area_by_hand() -> None:
    assert area(RISE) == pytest.approx(6.9 / 10)
    assert area(RISE, 4) == pytest.approx(1.6 / 4)
    # rounds 1 to 5 have the accuracy of round 5, 6 to 12 that of round 12
    sparse = SimpleNamespace(rounds=(5, 12), accuracy=(0.2, 0.9))
    assert area(sparse) == pytest.approx((5 * 0.2 + 7 * 0.9) / 12)


def test_a_curve_that_is_a_round_late_is_another_one() -> None:
    late = SimpleNamespace(rounds=tuple(r + 1 for r in RISE.rounds), accuracy=RISE.accuracy)
    assert rounds_to(late, 0.4) == rounds_to(RISE, 0.4) + 1
    assert area(late) < area(RISE)
    assert level_at(late, 5) == level_at(RISE, 4) != level_at(RISE, 5)


@given(accuracies, st.floats(0, 1))
def test_properties(accuracy: list[float], level: float) -> None:
    record = of(*accuracy)
    reached = rounds_to(record, level)
    assert (reached is None) == (max(accuracy) < level)
    assert min(accuracy) - 1e-12 <= area(record) <= max(accuracy) + 1e-12
    assert level_at(record, 1) == accuracy[0]
    if reached is not None:
        assert 1 <= reached <= len(accuracy)
        assert all(a < level for a in accuracy[: math.ceil(reached) - 1])


@pytest.mark.parametrize("horizon", [0, 11, -1])
def test_a_horizon_beyond_the_run_is_refused(horizon: int) -> None:
    for number in (level_at, area, lambda record, end: rounds_to(record, 0.5, end)):
        with pytest.raises(ValueError, match=f"a horizon of {horizon} rounds"):
            number(RISE, horizon)
    with pytest.raises(ValueError, match="the run has 0"):
        until(of(), None)


def test_a_curve_and_its_band_by_hand() -> None:
    found = curve([of(0.1, 0.8), of(0.3, 0.9), of(0.2, 1.0)], Noise(2.0, 4))
    assert found.rounds == (1, 2)
    assert found.mean == pytest.approx((20, 90))
    deviation = math.sqrt((4 * 2.0**2 + 2 * 10.0**2) / 6)
    reach = stdtrit(6, 0.95) * deviation / math.sqrt(3)
    assert found.low == pytest.approx((20 - reach, 90 - reach))
    assert found.high == pytest.approx((20 + reach, 90 + reach))
    assert found.confidence == 0.9


def test_a_curve_without_an_interval() -> None:
    found = curve([of(0.1, 0.8)], Noise(2.0, 0))
    assert (found.mean, found.low, found.high) == ((10.0, 80.0), None, None)
    with pytest.raises(ValueError, match="one seed at least"):
        curve([], Noise(2.0, 4))
    with pytest.raises(ValueError, match="in the same rounds"):
        curve([of(0.1, 0.8), of(0.1, 0.8, every=2)], Noise(2.0, 4))
