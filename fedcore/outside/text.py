"""JSON and TOML from outside: one reader each, with the same limits on what a value may be."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable
from typing import Any

from fedcore.outside.limits import DEPTH, LARGEST_INTEGER

_TOO_DEEP = f"it is nested too deeply: {DEPTH} objects or lists within one another at most"
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}){{{DEPTH},}}")


def read_json(text: str) -> Any:
    """The value of ``text``; ValueError for what JSON does not define, or leaves ambiguous.

    That is NaN and the infinities, written so or as 1e999, a key that stands twice in one object,
    and what `check_value` refuses.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    return check_value(value)


def read_toml(text: str) -> dict[str, Any]:
    """The content of ``text``; ValueError where it is no TOML, or for what `check_value` refuses.

    TOML itself refuses a key that stands twice.
    """
    _check_keys(text)
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    check_value(content)
    return content


def check_value(value: Any) -> Any:
    """``value`` itself: objects and lists `DEPTH` deep at most, numbers finite and of 64 bits.

    Texts are of characters that UTF-8 has. Raises ValueError otherwise.
    """
    level = [value]
    for depth in range(DEPTH + 1):
        below: list[Any] = []
        for one in level:
            kind = type(one)
            if depth == DEPTH and kind in (dict, list):
                raise ValueError(_TOO_DEEP)
            if kind is dict:
                below += one.values()
                _check_texts(one)
            elif kind is list:
                below += one
            elif kind is float:
                if not math.isfinite(one):
                    raise ValueError(f"numbers must be finite, got {one}")
            elif kind is str:
                _check_texts((one,))
            elif kind is int and not -LARGEST_INTEGER <= one <= LARGEST_INTEGER:
                raise ValueError("whole numbers must lie within -2^64 .. 2^64, got a larger one")
        level = below
        if not below:
            break
    return value


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"texts must be UTF-8, got {ascii(text)[:60]}") from error


def _check_keys(text: str) -> None:
    """Refuse keys of more than `DEPTH` parts, for which tomllib takes quadratic time."""
    if _LONG_KEY.search(text):
        raise ValueError(_TOO_DEEP)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
