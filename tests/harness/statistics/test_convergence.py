from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from fedcore.harness.statistics.convergence import (
    FEWEST_ROUNDS,
    STILL,
    Convergence,
    Trend,
    progress,
    trend,
)

ROUNDS = [29, 30, 31, 32, 33, 34]


def test_a_line_by_hand() -> None:
    # deviations of the rounds -2.5 .. 2.5, sum of squares 17.5; accuracies 1 2 2 3 3 4, mean 2.5
    found = trend(ROUNDS, [1.0, 2.0, 2.0, 3.0, 3.0, 4.0])
    slope = (-2.5 * -1.5 + -1.5 * -0.5 + -0.5 * -0.5 + 0.5 * 0.5 + 1.5 * 0.5 + 2.5 * 1.5) / 17.5
    assert found.slope == pytest.approx(slope) == pytest.approx(9.5 / 17.5)
    rest = 5.5 - slope**2 * 17.5  # sum of squares about the mean less that of the line
    assert found.error == pytest.approx(math.sqrt(rest / 4 / 17.5))


def test_a_straight_line_has_no_error_and_a_flat_one_no_slope() -> None:
    assert trend(ROUNDS, [2.0 * r for r in ROUNDS]).slope == pytest.approx(2)
    assert trend(ROUNDS, [2.0 * r for r in ROUNDS]).error == pytest.approx(0, abs=1e-6)
    assert trend(ROUNDS, [91.5] * 6) == Trend(0.0, 0.0)


def test_too_few_rounds_have_no_trend() -> None:
    assert trend(ROUNDS[: FEWEST_ROUNDS - 1], [1.0] * (FEWEST_ROUNDS - 1)) is None


def test_the_interval_by_hand() -> None:
    # slopes 0.1, 0.2, 0.3 a round: 1, 2, 3 per ten rounds, deviation 1; lines' error 0.05: 0.5
    found = progress([Trend(0.1, 0.05), Trend(0.2, 0.05), Trend(0.3, 0.05)])
    deviation = math.sqrt((4 * 0.5**2 + 2 * 1.0) / 6)
    assert found.rise.mean == pytest.approx(2)
    assert found.rise.half_width == pytest.approx(stdtrit(6, 0.95) * deviation / math.sqrt(3))
    assert found.state is Convergence.RISING


@pytest.mark.parametrize(
    ("slopes", "error", "state"),
    [
        ([0.0, 0.01, -0.01], 0.01, Convergence.FLAT),
        ([0.05, 0.05, 0.05], 0.005, Convergence.FLAT),  # it rises, by half a point
        ([0.3, 0.3, 0.3], 0.005, Convergence.RISING),
        ([0.12, 0.13, 0.11], 0.03, Convergence.RISING),  # [0.9, 1.5]: above 0, though not above 1
        ([0.3, -0.3, 0.2], 0.3, Convergence.OPEN),
        ([-0.5, -0.4, -0.45], 0.05, Convergence.FLAT),  # it falls: it will not overtake
    ],
)
def test_the_three_states(slopes: list[float], error: float, state: Convergence) -> None:
    assert progress([Trend(slope, error) for slope in slopes]).state is state


def test_a_single_seed_has_the_error_of_its_line() -> None:
    found = progress([Trend(0.0, 0.02)])
    assert found.rise.half_width == pytest.approx(stdtrit(4, 0.95) * 0.2)
    assert found.state is Convergence.FLAT
    with pytest.raises(ValueError, match="one seed at least"):
        progress([])


VALUES = st.lists(st.floats(0, 100), min_size=8, max_size=8)


@given(VALUES, st.floats(-2, 2), st.floats(-50, 50))
def test_a_line_that_is_added_adds_its_slope_and_leaves_the_error(
    values: list[float], slope: float, level: float
) -> None:
    rounds = list(range(20, 28))
    before = trend(rounds, values)
    after = trend(rounds, [v + level + slope * r for v, r in zip(values, rounds, strict=True)])
    assert after.slope == pytest.approx(before.slope + slope, abs=1e-6)
    assert after.error == pytest.approx(before.error, abs=1e-6)


@given(VALUES)
def test_a_curve_read_backwards_has_the_opposite_slope(values: list[float]) -> None:
    rounds = list(range(8))
    forth, back = trend(rounds, values), trend(rounds, values[::-1])
    assert back.slope == pytest.approx(-forth.slope, abs=1e-9)
    assert back.error == pytest.approx(forth.error, abs=1e-9)


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=6), st.floats(0.001, 0.3))
def test_more_slope_never_makes_an_arm_flat(slopes: list[float], error: float) -> None:
    order = [Convergence.FLAT, Convergence.OPEN, Convergence.RISING]
    states = [
        order.index(progress([Trend(slope + more, error) for slope in slopes]).state)
        for more in (0.0, 0.05, 0.1, 0.5, 5.0)
    ]
    assert states == sorted(states)
    assert states[-1] == 2
    assert STILL == 1.0


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=6), st.randoms())
def test_the_order_of_the_seeds_does_not_matter(slopes: list[float], random: object) -> None:
    trends = [Trend(slope, 0.05) for slope in slopes]
    shuffled = list(trends)
    random.shuffle(shuffled)
    assert progress(shuffled).rise.mean == pytest.approx(progress(trends).rise.mean)
    assert progress(shuffled).rise.low == pytest.approx(progress(trends).rise.low)
