"""The written form of components: ``alie(z=1.5)``, ``scaled(of=backdoor(target=0), gamma=5)``.

A name may be registered (``krum``), of another package (``acme/shift``) or an import path
(``mypkg.attacks:Shift``). Values are numbers, words with or without quotes, ``(1, 3)``, None, and
components.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from fedcore.components.component import Component
from fedcore.components.parameters import REQUIRED
from fedcore.components.registry import REGISTRIES
from fedcore.errors import FedcoreError, ScenarioError, nearest

_CALL = re.compile(r"\s*([^\s(),=]+)\s*(?:\((.*)\)\s*)?", re.DOTALL)
_PAIR = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)
_OPEN, _CLOSE, _QUOTES = "([{", ")]}", "'\""
#: Brackets within one another: as deep as a text is read.
DEEPEST: Final = 20
_SHOWN: Final = 200  # characters of a text that cannot be read


@dataclass
class Choice:
    """What a text names: a class, values of its parameters, and what is wrong with the text."""

    cls: type[Component] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class TooDeep(ValueError):
    """Brackets deeper within one another than `DEEPEST`."""


def shown(text: str) -> str:
    """``text`` in quotes, or its beginning, for messages."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def pieces(text: str, at: str = ",") -> list[str]:
    """``text`` cut at each ``at`` that is outside brackets and quotes, without empty ends.

    ValueError where a bracket or a quote is not closed; `TooDeep` is one, too.
    """
    depth, quote, begin, parts = 0, "", 0, []
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[place - 1] != "\\" else quote
        elif char in _QUOTES:
            quote = char
        elif char in _OPEN:
            depth += 1
            if depth > DEEPEST:
                raise TooDeep(
                    f"more than {DEEPEST} brackets within one another: write fewer components "
                    "inside components"
                )
        elif char in _CLOSE:
            depth -= 1
            if depth < 0:
                raise ValueError(f"a bracket too many: {char!r}")
        elif char == at and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    if depth or quote:
        raise ValueError("a bracket or a quote is not closed")
    return [piece for piece in (one.strip() for one in [*parts, text[begin:]]) if piece]


def choice(kind: str, text: str) -> Choice:
    """What ``text`` names among the components of ``kind``; never raises for a wrong text."""
    registry = REGISTRIES[kind]
    if text in registry:
        return Choice(registry.entry(text).part)
    head, colon, rest = text.partition(":")
    if colon and head in registry and (part := registry.entry(head).part).follows is not None:
        return Choice(part, {part.follows: rest})
    try:
        pieces(text)  # first: each component inside is read by a call of its own
    except TooDeep as error:
        return Choice(problems=[f"{kind} {shown(text)}: {error}"])
    except ValueError:
        pass  # said below, where a name stands in front of it
    call = _CALL.fullmatch(text)
    if call is None:
        form = f"{kind} must be a name, or name(parameter=value, ...), got {shown(text)}"
        return Choice(problems=[form])
    try:
        cls = registry.entry(call[1]).part
    except FedcoreError as error:
        return Choice(problems=[str(error)])
    result = Choice(cls)
    try:
        words = pieces(call[2] or "")
    except ValueError as error:
        result.problems.append(f"{kind} {shown(text)}: {error}")
        return result
    specs = cls.specs()
    for word in words:
        pair = _PAIR.fullmatch(word)
        if pair is None:
            result.problems.append(
                f"{kind} {shown(text)}: write parameter=value, got {shown(word)}"
            )
        elif pair[1] not in specs:
            result.problems.append(unread(kind, cls, pair[1]))
        elif pair[1] in result.values:
            result.problems.append(f"{kind} {shown(text)}: {pair[1]} is given twice")
        else:
            result.values[pair[1]] = specs[pair[1]].read(pair[2])
    return result


def unread(kind: str, cls: type[Component], parameter: str) -> str:
    """The message for a parameter that a component does not have, with the nearest one."""
    specs = cls.specs()
    close = nearest(parameter, specs)
    hint = f" Did you mean {close!r}?" if close else ""
    known = f" Known: {', '.join(specs)}." if specs else " It has none."
    return f"{kind} {cls.name!r} has no parameter {parameter!r}.{hint}{known}"


def component(kind: str, text: str) -> Any:
    """The component that ``text`` describes. ScenarioError lists all that is wrong with it."""
    named = choice(kind, text)
    problems = list(named.problems)
    if named.cls is not None:
        missing, values = completed(kind, named.cls, named.values)
        problems += missing
        if not problems:
            return named.cls(**values)
        specs = named.cls.specs()
        for name, value in named.values.items():
            problems += specs[name].problems(name, specs[name].coerce(value))
    raise ScenarioError(problems)


def registered(kind: str, value: Any) -> str:
    """The registered name that ``value`` of a component field stands for.

    ``npz`` for ``npz:PATH``, ``alie`` for ``alie(z=1.5)`` and for an object; a text that names
    nothing registered as it is.
    """
    if isinstance(value, Component):
        return value.name
    cls = choice(kind, value).cls if isinstance(value, str) else None
    return str(value) if cls is None else cls.name


def completed(
    kind: str, cls: type[Component], values: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """A message for each required parameter that ``values`` lack, and ``values``."""
    missing = [
        f"{kind} {cls.name!r} needs {name} ({spec.range or spec.doc})"
        for name, spec in cls.specs().items()
        if name not in values and spec.default is REQUIRED
    ]
    return missing, values
