"""Declared fields: the type, range and meaning of each scenario field, written once.

The same declaration checks a value, makes a command-line flag and prints a line of help.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class Spec:
    """Type, range and meaning of one field. ``None`` is allowed where ``optional`` says so."""

    type: type
    doc: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False
    pair: bool = False  # an integer, or (lowest, highest) of a draw per client

    @property
    def range(self) -> str:
        """The admissible values, as printed: ``[0, 1]``, ``> 0``, ``one of a, b``."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f"{'>' if self.open_low else '>='} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"

    def coerce(self, value: Any) -> Any:
        """``value`` in its canonical type (1 -> 1.0 for a float field), or unchanged."""
        if isinstance(value, bool) or value is None:
            return value
        if self.pair and isinstance(value, Sequence) and not isinstance(value, str):
            items = tuple(int(v) if isinstance(v, numbers.Integral) else v for v in value)
            return items[0] if len(items) == 2 and items[0] == items[1] else items
        if self.type is float and isinstance(value, numbers.Real):
            try:
                return float(value) + 0.0  # -0.0 becomes 0.0: equal scenarios hash alike
            except OverflowError:
                return math.inf
        if self.type is int and isinstance(value, numbers.Integral):
            return int(value)
        return value

    def problems(self, name: str, value: Any) -> list[str]:
        """What is wrong with a coerced ``value``: an empty list if nothing is."""
        if value is None:
            return [] if self.optional else [f"{name} must be given, got None"]
        if self.pair and isinstance(value, tuple):
            if len(value) != 2 or not all(isinstance(v, int) for v in value) or value[0] > value[1]:
                return [f"{name} must be an integer or (lowest, highest), got {value!r}"]
            return self.problems(name, value[0])
        if not isinstance(value, self.type) or (self.type is not bool and isinstance(value, bool)):
            return [f"{name} must be {_NAMES[self.type]}, got {value!r}"]
        if self.choices and value not in self.choices:
            return [f"{name} must be {self.range}, got {value!r}"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = value <= self.low if self.open_low else value < self.low
            high = value >= self.high if self.open_high else value > self.high
            if value != value or value in (math.inf, -math.inf) or low or high:
                return [f"{name} must be {self.range or 'finite'}, got {value!r}"]
        return []


def number(default: Any, type: type, doc: str, **rules: Any) -> Any:
    """A dataclass field that carries its `Spec` in its metadata."""
    spec = Spec(type, doc, optional=default is None, **rules)
    return dataclasses.field(default=default, metadata={"spec": spec})


def text(default: Any, doc: str, **rules: Any) -> Any:
    """A string field with its `Spec`."""
    return number(default, str, doc, **rules)


def flag(default: bool | None, doc: str) -> Any:
    """A boolean field with its `Spec`."""
    return number(default, bool, doc)
