"""Scenarios from words: flags of the command line, a Flower run config, options of pytest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from fedcore.components.component import Component
from fedcore.components.kinds import SINGLE
from fedcore.components.parameters import Spec
from fedcore.components.written import choice
from fedcore.errors import ScenarioError, nearest
from fedcore.scenario.scenario import Scenario, own_specs


def flag(name: str) -> str:
    """The flag of the field ``name``: ``num_clients`` -> ``--num-clients``."""
    return "--" + name.replace("_", "-")


def meant(words: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of a scenario's fields that ``words`` stand for, by name.

    The words of a parameter are read as the chosen component declares it; components that ``words``
    do not name are those of ``base``, or the default ones. ``none`` takes back a parameter. Names
    that are no field keep their word.
    """
    specs, own = Scenario.specs(), own_specs()
    for kind in SINGLE:
        value = words.get(kind, (base or {}).get(kind, own[kind].default))
        if isinstance(value, Component):
            specs = {**specs, **_of(type(value), own)}
        elif isinstance(value, str) and (cls := choice(kind, value).cls) is not None:
            specs = {**specs, **_of(cls, own)}
    values = {}
    for name, word in words.items():
        spec = specs.get(name)
        if spec is None or not isinstance(word, str):
            values[name] = word
        elif name not in own and word.lower() == "none" and "none" not in spec.choices:
            values[name] = None
        else:
            values[name] = spec.read(word)
    return values


def _of(cls: type[Component], own: Mapping[str, Spec]) -> dict[str, Spec]:
    return {name: spec for name, spec in cls.specs().items() if name not in own}


def flags(text: str) -> dict[str, Any]:
    """The words by field that ``text`` gives as flags: ``--attack "alie(z=1.5)" --rounds 3``.

    Raises ScenarioError with every flag that is unknown or lacks its value.
    """
    specs = Scenario.specs()
    known = {flag(name): name for name in specs}
    switches = {f"--no-{flag(n)[2:]}": n for n, spec in specs.items() if spec.type is bool}
    fields: dict[str, Any] = {}
    problems = []
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ScenarioError([f"flags {text!r} cannot be read: {error}"]) from error
    while words:
        word, given, value = words.pop(0).partition("=")
        if word in switches and not given:
            fields[switches[word]] = False
        elif word not in known:
            close = nearest(word, [*known, *switches])
            hint = f" Did you mean {close!r}?" if close else ""
            problems.append(f"unknown flag {word!r}.{hint}")
            while words and not words[0].startswith("--"):
                words.pop(0)
        elif specs[known[word]].type is bool and not given:
            fields[known[word]] = True
        elif not given and (not words or words[0].startswith("--")):
            problems.append(f"flag {word!r} needs a value")
        else:
            fields[known[word]] = value if given else words.pop(0)
    if problems:
        raise ScenarioError(problems)
    return fields
