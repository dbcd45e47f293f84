"""TOML files: their content, and dataclasses from their tables."""

from __future__ import annotations

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any, TypeVar

from fedcore.errors import FedcoreError
from fedcore.outside import text
from fedcore.outside.files import read_text
from fedcore.outside.limits import TOML_BYTES

Kind = TypeVar("Kind")

_RULES = {
    bool: "true or false",
    dict: "a table",
    float: "a finite number",
    int: "an integer",
    str: "a text that is not empty",
}


def read_toml(path: Path, what: str, error: type[FedcoreError]) -> dict[str, Any]:
    """The content of the file at ``path``. Raises ``error`` naming ``what`` it is, and the path.

    What a file may hold: `fedcore.outside.text`.
    """
    try:
        return text.read_toml(read_text(path, TOML_BYTES))
    except (OSError, ValueError) as reason:  # a TOMLDecodeError and bad UTF-8 are ValueErrors
        raise error(f"{what} {path}: {getattr(reason, 'strerror', None) or reason}") from reason


def table(kind: type[Kind], values: Any, place: str, error: type[FedcoreError]) -> Kind:
    """``values`` as a ``kind``, a dataclass with fields of bool, dict, float, int or str.

    Every field without a default is there, and no other; None is a field that is left out; an
    integer counts as a float. Raises ``error`` naming place, rule and value, for a ValueError of
    the dataclass, too.
    """
    if not isinstance(values, dict):
        raise error(f"{place}: must be a table, got {values!r}")
    fields = {f.name: f.default for f in dataclasses.fields(typing.cast(Any, kind))}
    needed = [name for name, default in fields.items() if default is dataclasses.MISSING]
    if not set(needed) <= values.keys() <= fields.keys():
        more = ", ".join(name for name in fields if name not in needed)
        may = f" (and may hold {more})" * bool(more)
        odd = "".join(f"; unknown key {name!r}" for name in values if name not in fields)
        raise error(f"{place}: must hold {', '.join(needed)}{may}, nothing else{odd}")
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{name: _value(hints[name], name, value) for name, value in values.items()})
    except ValueError as reason:
        raise error(f"{place}: {reason}") from reason


def _plain(hint: Any) -> Any:
    """``dict`` for ``dict[str, int]``; any other type as it is."""
    return typing.get_origin(hint) or hint


def _value(hint: Any, name: str, value: Any) -> Any:
    """``value`` of the field ``name``; ``hint`` is a type of `_RULES`, or a union with None."""
    wanted = next(part for part in map(_plain, (hint, *typing.get_args(hint))) if part in _RULES)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted or value == "" or (wanted is float and not math.isfinite(value)):
        raise ValueError(f"{name} must be {_RULES[wanted]}, got {value!r}")
    return value
