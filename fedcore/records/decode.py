"""Dataclasses from JSON values, by their annotations and nothing looser.

An integer is no boolean and no float, a float is finite; every field is there and no other, in
their order; a tuple has the length that its annotation gives. A new field of a dataclass is read
without a change here; one with ``later`` in its metadata is missing where it has its default, as
in what was written before it was declared.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from fedcore.outside.text import read_json as read_json

Reader = Callable[[Any, str], Any]


def read(kind: Any, value: Any, place: str = "") -> Any:
    """``value`` as a ``kind``: a dataclass, str, int, float, bool, None, tuple[...] or a union.

    ``place`` is the path to it. Raises ValueError naming path, rule and value; TypeError for an
    annotation that this does not know.
    """
    return _reader(kind)(value, place)


@functools.cache
def _reader(kind: Any) -> Reader:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (None, type(None)):
        return functools.partial(_plain, type(None), "null")
    if kind in (str, int, bool):
        return functools.partial(_plain, kind, kind.__name__)
    if kind is float:
        return _float
    if dataclasses.is_dataclass(kind):
        return functools.partial(_object, kind)
    if origin in (typing.Union, types.UnionType):
        readers = [_reader(a) for a in arguments if a is not type(None)]
        several = readers[0] if len(readers) == 1 else functools.partial(_any, readers)
        absent = len(readers) < len(arguments)
        return functools.partial(_optional, several) if absent else several
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return functools.partial(_list, _reader(arguments[0]))
    if origin is tuple:
        return functools.partial(_row, [_reader(a) for a in arguments])
    raise TypeError(f"fields of type {kind} cannot be read from JSON")


@functools.cache
def _fields(kind: Any) -> dict[str, Reader]:
    hints = typing.get_type_hints(kind)
    return {f.name: _reader(hints[f.name]) for f in dataclasses.fields(kind)}


@functools.cache
def _later(kind: Any) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(kind) if f.metadata.get("later")}


def _object(kind: Any, value: Any, place: str) -> Any:
    if type(value) is kind:  # a part that its owner has read
        return value
    readers = _fields(kind)
    if type(value) is not dict:
        raise _wrong(place, "an object", value)
    later = _later(kind)
    absent = later.keys() - value.keys()
    if list(value) != [name for name in readers if name not in absent]:
        odd = ", ".join(sorted(value.keys() ^ readers.keys()))
        what = f"{odd} missing or unknown" if odd else "its keys are in another order"
        raise ValueError(f"{place or 'the whole'}: {what}")
    prefix = f"{place}." if place else ""
    present = {name: read for name, read in readers.items() if name not in absent}
    result = kind(**{name: read(value[name], prefix + name) for name, read in present.items()})
    for name, default in later.items():
        if name not in absent and getattr(result, name) == default:
            raise ValueError(f"{prefix}{name}: it is written where it differs from {default!r}")
    return result


def _plain(kind: type, name: str, value: Any, place: str) -> Any:
    if type(value) is not kind:
        raise _wrong(place, name, value)
    return value


def _float(value: Any, place: str) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise _wrong(place, "a finite float", value)
    return value


def _list(item: Reader, value: Any, place: str) -> tuple[Any, ...]:
    if type(value) is not list:
        raise _wrong(place, "a list", value)
    return tuple([item(each, place) for each in value])


def _row(items: list[Reader], value: Any, place: str) -> tuple[Any, ...]:
    if type(value) is not list or len(value) != len(items):
        raise _wrong(place, f"a list of {len(items)}", value)
    return tuple(item(each, place) for item, each in zip(items, value, strict=True))


def _optional(reader: Reader, value: Any, place: str) -> Any:
    return None if value is None else reader(value, place)


def _any(readers: list[Reader], value: Any, place: str) -> Any:
    for reader in readers[:-1]:
        try:
            return reader(value, place)
        except ValueError:
            continue
    return readers[-1](value, place)


def _wrong(place: str, rule: str, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(f"{place} must be {rule}, got {shown[:60]}{'...' * (len(shown) > 60)}")
