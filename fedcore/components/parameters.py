"""Declared parameters: the type, range and meaning of each one, written once where it is owned.

The same declaration checks a value, reads it from text, makes a command-line flag and a line of
help, and names it in an id.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any, Final

from fedcore.components.annotations import reading
from fedcore.errors import FedcoreError

_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_PLURALS = {int: "integers", float: "numbers", str: "strings", bool: "booleans"}
_SIMPLE = (int, float, str, bool)
_SHOWN, _LONG = 200, 10**30
_TRUE, _FALSE = ("true", "yes"), ("false", "no")
#: Key of a declaration in the metadata of a dataclass field.
DECLARED: Final = "fedcore"


class _Required:
    """Marks a parameter that has no default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


@dataclasses.dataclass(frozen=True)
class Spec:
    """Type, range and meaning of one parameter. ``None`` is allowed where ``optional`` says so.

    ``type`` is int, float, str, bool or a class of components. ``many`` is a tuple of any number
    of values, ``length`` a tuple of so many. ``token`` is what stands before the value in an id,
    None for the name of the parameter. A ``shared`` parameter has one value in all chosen
    components that read it. A parameter that was declared ``later`` than its component is left out
    of the canonical form at its default, so that hashes stay.
    """

    type: type
    doc: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False
    pair: bool = False  # an integer, or (lowest, highest) of a draw per client
    many: bool = False
    length: int | None = None
    token: str | None = None
    shared: bool = False
    later: bool = False
    most: float = math.inf  # what a value that is meant never exceeds; no part of `range`
    default: Any = REQUIRED

    @property
    def range(self) -> str:
        """The admissible values, as printed: ``[0, 1]``, ``> 0``, ``one of a, b``."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f"{'>' if self.open_low else '>='} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"

    @property
    def kind(self) -> str | None:
        """The kind of component that a value is; None where it is a plain value."""
        return None if self.type in _SIMPLE else str(getattr(self.type, "kind", ""))

    @property
    def sequence(self) -> bool:
        """Whether a value is a tuple, whatever it holds."""
        return self.many or self.length is not None

    def coerce(self, value: Any) -> Any:
        """``value`` in its canonical type (1 -> 1.0 for a float), or unchanged."""
        if isinstance(value, bool) or value is None:
            return value
        plain = isinstance(value, Sequence) and not isinstance(value, str)
        if self.pair and plain:
            items = tuple(int(v) if isinstance(v, numbers.Integral) else v for v in value)
            return items[0] if len(items) == 2 and items[0] == items[1] else items
        if self.sequence and plain:
            return tuple(self._one(item) for item in value)
        return self._one(value)

    def _one(self, value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if self.type is float and isinstance(value, numbers.Real):
            try:
                return float(value) + 0.0  # -0.0 becomes 0.0: equal scenarios hash alike
            except OverflowError:
                return math.inf
        if self.type is int and isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, str) and self.kind is not None:
            try:
                return self._component(value)
            except FedcoreError:
                return value  # `problems` says why
        return value

    def _component(self, text: str) -> Any:
        from fedcore.components.written import component  # reads components, which have parameters

        return component(str(self.kind), text)

    def read(self, word: str) -> Any:
        """The value that ``word`` means: ``1e-3``, ``1-3`` for a pair, ``none`` where it may be.

        A word that means nothing stays as it is: `problems` then says what is wrong.
        """
        word = word.strip()
        if self.optional and word.lower() == "none" and "none" not in self.choices:
            return None
        if self.pair or self.sequence:
            return self._read_tuple(word)
        return self._read_one(word)

    def _read_tuple(self, word: str) -> Any:
        between = word.strip("()[] ").replace("-", ",") if self.pair else word.strip("()[] ")
        items = [item.strip() for item in between.split(",") if item.strip()]
        bracketed = word[:1] in ("(", "[")
        if self.pair and len(items) != 2 and not bracketed:
            return self._read_one(word)
        if self.pair and not all(item.isascii() and item.isdecimal() for item in items):
            return word
        return tuple(self._read_one(item) for item in items)

    def _read_one(self, word: str) -> Any:
        if word[:1] in ("'", '"') and (self.type is str or self.kind is not None):
            try:
                return str(ast.literal_eval(word))
            except (ValueError, SyntaxError):
                return word
        if self.type is bool:
            known = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
            return known.get(word.lower(), word)
        try:
            return self.type(word) if self.type in (int, float) else word
        except ValueError:
            return word

    def problems(self, name: str, value: Any) -> list[str]:
        """What is wrong with a coerced ``value``: an empty list if nothing is."""
        if value is None:
            return [] if self.optional else [f"{name} must be given, got None"]
        if self.pair and isinstance(value, tuple):
            if len(value) != 2 or not all(isinstance(v, int) for v in value) or value[0] > value[1]:
                return [f"{name} must be an integer or (lowest, highest), got {value!r}"]
            return self._problems(name, value[0]) or self._problems(name, value[1])
        if not self.sequence:
            return self._problems(name, value)
        if not isinstance(value, tuple) or self.length not in (None, len(value)):
            count = "" if self.length is None else f"{self.length} "
            what = _PLURALS.get(self.type, "components")
            return [f"{name} must be a tuple of {count}{what}, got {value!r}"]
        return [text for item in value for text in self._problems(name, item)]

    def _problems(self, name: str, value: Any) -> list[str]:
        if self.kind is not None:
            return self._component_problems(name, value)
        if not isinstance(value, self.type) or (self.type is not bool and isinstance(value, bool)):
            return [f"{name} must be {_NAMES[self.type]}, got {shown(value)}"]
        if self.choices and value not in self.choices:
            return [f"{name} must be {self.range}, got {shown(value)}"]
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = value <= self.low if self.open_low else value < self.low
            high = value >= self.high if self.open_high else value > self.high
            if value != value or value in (math.inf, -math.inf) or low or high:
                return [f"{name} must be {self.range or 'finite'}, got {shown(value)}"]
            if value > self.most:
                return [f"{name} must be <= {self.most:.15g}, got {shown(value)}"]
        return []

    def _component_problems(self, name: str, value: Any) -> list[str]:
        if isinstance(value, str):
            try:
                value = self._component(value)
            except FedcoreError as error:
                return [f"{name}: {text}" for text in getattr(error, "problems", (str(error),))]
        if isinstance(value, self.type):
            return []
        from fedcore.components.component import unmade  # has parameters itself

        if (hint := unmade(value)) is not None:
            return [f"{name}: {hint}"]
        return [f"{name} must be {self.kind} {self.type.__name__}, got {value!r}"]


def shown(value: Any) -> str:
    """``value`` as in Python, or its beginning, for messages."""
    if isinstance(value, int) and abs(value) >= _LONG:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # of a class of others
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def param(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    token: str | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    choices: tuple[str, ...] = (),
    shared: bool = False,
    later: bool = False,
) -> Any:
    """A parameter of a component: its meaning, range and default; its type is the annotation's.

    The annotation is int, float, str, bool, ``int | tuple[int, int]`` for a pair of bounds,
    ``tuple[int, ...]``, ``tuple[int, int]`` or a class of components, each of them also with
    ``| None``. The other arguments are those of `Spec`. Without a ``default`` the parameter must be
    given.
    """
    if later and default is dataclasses.MISSING:
        raise TypeError("a parameter that is declared later needs a default")
    rules = {
        "doc": doc,
        "token": token,
        "low": low,
        "high": high,
        "open_low": open_low,
        "open_high": open_high,
        "choices": tuple(choices),
        "shared": shared,
        "later": later,
    }
    metadata = {DECLARED: rules}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def spec_of(owner: type, field: dataclasses.Field[Any]) -> Spec:
    """The declaration of ``field`` of ``owner``.

    TypeError for an annotation it cannot have, and for a default that the declaration forbids.
    """
    rules = dict(field.metadata[DECLARED])
    default = REQUIRED if field.default is dataclasses.MISSING else field.default
    read = reading(owner, field.name, field.type)
    if read.choices:
        rules["choices"] = read.choices
    spec = Spec(
        read.type,
        rules.pop("doc"),
        optional=read.optional or default is None,
        pair=read.pair,
        many=read.many,
        length=read.length,
        **rules,
    )
    if default is REQUIRED:
        return spec
    if spec.kind is None or not _words(default):
        default = spec.coerce(default)
        if problems := spec.problems(field.name, default):
            raise TypeError(f"{owner.__qualname__}.{field.name}: its own default: {problems[0]}")
    return dataclasses.replace(spec, default=default)


def _words(default: Any) -> bool:
    """Whether a default has components in their written form, which need their registry first."""
    items = default if isinstance(default, tuple) else (default,)
    return any(isinstance(item, str) for item in items)
