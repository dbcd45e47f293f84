"""Checks of a component as a value: hashable, picklable, written, refused, told apart."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from typing import Any

from fedcore.components.component import Component
from fedcore.components.parameters import Spec
from fedcore.components.written import component as read
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.scenario import Scenario


def problems(part: Component) -> Iterator[str]:
    """What ``part`` is not, as a value."""
    if hash(part) != hash(copy.copy(part)) or part != copy.copy(part):
        yield "a copy is not equal to it, or has another hash"
    try:
        packed = pickle.loads(pickle.dumps(part))
        if packed != part or type(packed) is not type(part):
            yield f"it is pickled as something else: {packed}"
    except Exception as error:
        yield (
            f"it cannot be pickled, so that no worker can have it ({error}): put its class into a "
            "module that can be imported"
        )
    for text in (part.spelled(), str(part)) if part.name else ():
        try:
            if read(part.kind, text) != part:
                yield f"its written form {text!r} reads back as {read(part.kind, text)}"
        except FedcoreError as error:
            yield f"its written form {text!r} does not read back: {error}"
    for name, spec in part.specs().items():
        yield from _refusals(part, name, spec)
    try:
        type(part)(**{**part.parameters(), "no_such_parameter": 1})
        yield "it takes a parameter 'no_such_parameter'"
    except (TypeError, ScenarioError):
        pass


def _refusals(part: Component, name: str, spec: Spec) -> Iterator[str]:
    """Values that are outside the declared range or of another type, and are taken."""
    wrong: list[Any] = []
    if spec.type in (int, float) and not spec.sequence:
        wrong += ["seven", math.nan]
        if spec.type is int:
            wrong.append(0.5)
        if math.isfinite(spec.low):
            wrong.append(type(spec.low)(spec.low) if spec.open_low else spec.low - 1)
        if math.isfinite(spec.high):
            wrong.append(spec.high if spec.open_high else spec.high + 1)
    elif spec.type is bool:
        wrong.append("perhaps")
    elif spec.type is str and spec.choices:
        wrong.append("no such choice")
    for value in wrong:
        try:
            type(part)(**{**part.parameters(), name: value})
            yield f"{name}={value!r} is taken, declared is {spec.range or spec.type.__name__}"
        except ScenarioError:
            pass


def naming_problems(part: Component, chosen: Scenario) -> Iterator[str]:
    """Parameters in which two scenarios differ, and not in their hashes or ids."""
    if Scenario.from_dict(chosen.to_dict()) != chosen:
        yield "a scenario with it does not read back from its own JSON"
    for name, spec in part.specs().items():
        for value in _others(spec, getattr(part, name)):
            try:
                changed = type(part)(**{**part.parameters(), name: value})
                other = _with(chosen, changed)
            except (ScenarioError, TypeError):
                continue  # another rule forbids it
            if other.hash == chosen.hash:
                yield f"{name}={value!r} has the hash of {name}={getattr(part, name)!r}"
            if other.id == chosen.id:
                yield f"{name}={value!r} has the id of {name}={getattr(part, name)!r}: {other.id}"
            break


def _with(chosen: Scenario, part: Component) -> Scenario:
    if part.kind == "preaggregation":
        return chosen.but(preaggregation=(part,))
    return chosen.but(**{part.kind: part})


def _others(spec: Spec, value: Any) -> Iterator[Any]:
    """Other values that the declaration allows."""
    candidates: list[Any] = []
    if spec.type is bool:
        candidates = [not value]
    elif spec.choices:
        candidates = list(spec.choices)
    elif spec.type in (int, float) and not spec.sequence and not spec.pair:
        base = 1 if value is None else value
        candidates = [base + 1, base - 1, base * 2, base / 2]
    for candidate in candidates:
        coerced = spec.coerce(candidate)
        if coerced != value and not spec.problems("value", coerced):
            yield coerced
