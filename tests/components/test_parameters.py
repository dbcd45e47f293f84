from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.components import Component, Spec, param

SHARE = Spec(float, "", low=0, high=1, open_low=True)
COUNT = Spec(int, "", low=1)
EPOCHS = Spec(int, "", low=1, pair=True)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SHARE, "in (0, 1]"),
        (COUNT, ">= 1"),
        (Spec(float, "", low=0, open_low=True), "> 0"),
        (Spec(float, "", low=0, high=0.5, open_high=True), "in [0, 0.5)"),
        (Spec(str, "", choices=("a", "b")), "one of a, b"),
        (Spec(float, ""), ""),
    ],
)
def test_range_as_printed(spec, expected) -> None:
    assert spec.range == expected


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        (SHARE, 1, 1.0),
        (SHARE, np.float64(0.5), 0.5),
        (SHARE, Fraction(1, 2), 0.5),
        (SHARE, -0.0, 0.0),
        (COUNT, np.int32(3), 3),
        (EPOCHS, [1, 3], (1, 3)),
        (EPOCHS, (2, 2), 2),
        (EPOCHS, (np.int64(1), 4), (1, 4)),
        (SHARE, None, None),
        (COUNT, True, True),
        (COUNT, "3", "3"),
        (COUNT, 2.0, 2.0),
    ],
)
def test_canonical_values(spec, value, expected) -> None:
    made = spec.coerce(value)
    assert made == expected
    assert type(made) is type(expected)
    assert math.copysign(1, made) == 1 if isinstance(made, float) else True


@given(st.floats() | st.integers())
def test_a_share_is_accepted_exactly_in_its_range(value) -> None:
    if isinstance(value, int) and abs(value) > 10**300:
        return
    assert (SHARE.problems("x", SHARE.coerce(value)) == []) == (0 < value <= 1)


@given(st.integers())
def test_a_count_is_accepted_exactly_in_its_range(value) -> None:
    if abs(value) < 2**1023:
        assert (COUNT.problems("x", value) == []) == (value >= 1)


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (SHARE, 0.0, "x must be in (0, 1], got 0.0"),
        (SHARE, math.nan, "x must be in (0, 1], got nan"),
        (SHARE, "0.5", "x must be a number, got '0.5'"),
        (SHARE, True, "x must be a number, got True"),
        (SHARE, None, "x must be given, got None"),
        (COUNT, 2.0, "x must be an integer, got 2.0"),
        (Spec(float, ""), math.inf, "x must be finite, got inf"),
        (Spec(str, "", choices=("a", "b")), "c", "x must be one of a, b, got 'c'"),
        (Spec(bool, ""), 1, "x must be true or false, got 1"),
        (EPOCHS, (3, 1), "x must be an integer or (lowest, highest), got (3, 1)"),
        (EPOCHS, (1, 2, 3), "x must be an integer or (lowest, highest), got (1, 2, 3)"),
        (EPOCHS, (1, 2.5), "x must be an integer or (lowest, highest), got (1, 2.5)"),
        (EPOCHS, (0, 2), "x must be >= 1, got 0"),
    ],
)
def test_messages(spec, value, message) -> None:
    assert spec.problems("x", spec.coerce(value)) == [message]


def test_declarations_carry_their_spec() -> None:
    class Toy(Component):
        a: int = param("a count", default=3, low=1)
        b: str | None = param("a name", default=None)
        c: bool = param("a switch", default=False)

    specs = Toy.specs()
    assert Toy() == Toy(a=3, b=None, c=False)
    assert [spec.optional for spec in specs.values()] == [False, True, False]
    assert specs["a"].doc == "a count"
    assert specs["b"].problems("b", None) == []
