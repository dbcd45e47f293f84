"""From what a scenario is given to its components: names, written forms, objects, flat parameters.

All problems of all kinds are gathered before any is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedcore.components.component import Component, unmade
from fedcore.components.kinds import SINGLE
from fedcore.components.parameters import REQUIRED, Spec
from fedcore.components.registry import REGISTRIES
from fedcore.components.written import Choice, choice, completed, pieces, shown
from fedcore.errors import FedcoreError, ScenarioError, unknown_name
from fedcore.scenario.declared import parameters, readers_of
from fedcore.scenario.parts import Parts
from fedcore.scenario.wire import MIRRORED, POSITION

_STEPS = "preaggregation"
_PROBE = "probe"


@dataclass
class _Chosen:
    """A choice of one kind: its class, values given inside it and beside it, and problems."""

    kind: str
    cls: type[Component]
    inside: dict[str, Any]
    beside: dict[str, Any] = field(default_factory=dict)
    part: Component | None = None  # the object that was given

    @property
    def values(self) -> dict[str, Any]:
        return {**self.beside, **self.inside}

    def made(self, shared: Mapping[str, Any]) -> Component:
        specs = self.cls.specs()
        extra = {n: v for n, v in shared.items() if n in specs}
        made = self.cls.checked({**extra, **self.values})
        return self.part if made == self.part else made


class _Problems:
    """Problems in the order of the fields that they are about, then as they come."""

    def __init__(self) -> None:
        self._placed: list[tuple[int, str]] = []
        self.rest: list[str] = []

    def place(self, name: str, texts: Iterable[str]) -> None:
        self._placed += [(POSITION.get(name, len(POSITION)), text) for text in texts]

    def all(self) -> list[str]:
        return [text for _, text in sorted(self._placed, key=lambda p: p[0])] + self.rest


def assemble(given: Mapping[str, Any], own: Mapping[str, Spec]) -> tuple[dict[str, Any], Parts]:
    """Values of a scenario's ``own`` fields by name, and its components.

    Raises ScenarioError with every problem of single values; preconditions are not asked for.
    """
    problems = _Problems()
    values = _own_values(given, own, problems)
    missing: list[str] = []
    unknown: list[str] = []
    choices: dict[str, _Chosen] = {}
    for kind in SINGLE:
        chosen = _chosen(kind, values[kind], own[kind], problems, unknown)
        if chosen is not None:
            choices[kind] = chosen
    steps = _steps(values[_STEPS], problems, unknown)
    probe = _probe(values[_PROBE], problems, unknown)
    loose = _beside(given, own, choices, problems, unknown)
    _mirror(given, values, choices, unknown)
    shared = _shared(choices, problems)
    for chosen in choices.values():
        extra = {n: v for n, v in shared.items() if n in chosen.cls.specs()}
        missing += completed(chosen.kind, chosen.cls, {**extra, **chosen.values})[0]
    problems.rest += [*unknown, *missing]
    if len(choices) == sum(values[kind] is not None for kind in SINGLE):
        problems.rest += _unread(loose)
    if texts := problems.all():
        raise ScenarioError(texts)
    parts: dict[str, Any] = {kind: chosen.made(shared) for kind, chosen in choices.items()}
    values[_PROBE] = None if probe is None else probe.spelled()
    return values, Parts(**parts, preaggregation=steps, probe=probe)


def _own_values(
    given: Mapping[str, Any], own: Mapping[str, Spec], problems: _Problems
) -> dict[str, Any]:
    values = {}
    for name, spec in own.items():
        value = given.get(name, spec.default)
        if value is spec.default or name in SINGLE or name in (_STEPS, _PROBE):
            values[name] = value
            continue
        values[name] = spec.coerce(value)
        problems.place(name, spec.problems(name, values[name]))
    return values


def _chosen(
    kind: str, value: Any, spec: Spec, problems: _Problems, unknown: list[str]
) -> _Chosen | None:
    """The choice of one kind; None where there is none, or none that is known."""
    if isinstance(value, Component):
        try:
            part = _registered(kind, value)
        except FedcoreError as error:
            unknown += getattr(error, "problems", (str(error),))
            return None
        specs = part.specs()
        # what an object leaves at its default may be given beside it
        inside = {n: v for n, v in part.parameters().items() if v != specs[n].default}
        return _Chosen(kind, type(part), inside, part=part)
    if not isinstance(value, str):
        hint = unmade(value)
        problems.place(kind, spec.problems(kind, value) if hint is None else [f"{kind}: {hint}"])
        return None
    named = choice(kind, value)
    return _of_choice(kind, named, problems, unknown)


def _of_choice(kind: str, named: Choice, problems: _Problems, unknown: list[str]) -> _Chosen | None:
    unknown += named.problems
    if named.cls is None:
        return None
    specs = named.cls.specs()
    inside = {name: specs[name].coerce(value) for name, value in named.values.items()}
    for name, value in inside.items():
        problems.place(kind, specs[name].problems(name, value))
    return _Chosen(kind, named.cls, {n: v for n, v in inside.items() if v is not None})


def _registered(kind: str, part: Component) -> Component:
    """``part``, whose class gets its import path as its name where it has none."""
    cls = type(part)
    if cls.kind not in ("", kind):
        raise ScenarioError([f"{kind} must be a {kind}, got the {cls.kind} {part}"])
    if not cls.name or cls.__dict__.get("name") is None:
        REGISTRIES[kind].entry(f"{cls.__module__}:{cls.__qualname__}")
    return part


def _steps(value: Any, problems: _Problems, unknown: list[str]) -> tuple[Component, ...]:
    """The steps of pre-aggregation: objects, written forms, or one text of several."""
    if value is None:
        return ()
    try:
        items = pieces(value) if isinstance(value, str) else list(_listed(value))
    except ValueError as error:
        unknown.append(f"{_STEPS} {shown(value)}: {error}")
        return ()
    steps = (_alone(_STEPS, item, problems, unknown) for item in items)
    return tuple(step for step in steps if step is not None)


def _probe(value: Any, problems: _Problems, unknown: list[str]) -> Component | None:
    """The attack whose probe set is scored: an object or a written form."""
    if value is None:
        return None
    if not isinstance(value, str | Component) and unmade(value) is None:
        form = f"probe must be an attack, as backdoor(target=0), got {value!r}"
        problems.place(_PROBE, [form])
        return None
    return _alone("attack", value, problems, unknown)


def _alone(kind: str, value: Any, problems: _Problems, unknown: list[str]) -> Component | None:
    """A component that takes no parameters from beside it; None where anything is wrong so far."""
    chosen = _chosen(kind, value, Spec(str, f"of {kind}"), problems, unknown)
    if chosen is None:
        return None
    missing = completed(kind, chosen.cls, chosen.values)[0]
    unknown += missing
    return None if missing or unknown or problems.all() else chosen.made({})


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _beside(
    given: Mapping[str, Any],
    own: Mapping[str, Spec],
    choices: Mapping[str, _Chosen],
    problems: _Problems,
    unknown: list[str],
) -> dict[str, Any]:
    """Hands each flat parameter to the component that reads it; returns those that none reads."""
    loose = {}
    for name, value in given.items():
        if name in own:
            continue
        claiming = [c for c in choices.values() if name in c.cls.specs() and name != c.cls.follows]
        readers = [c for c in claiming if c.part is None and name not in c.inside] or claiming
        spec = readers[0].cls.specs()[name] if readers else _declared(name)
        if spec is None:
            unknown.append(unknown_name("scenario field", name, [*own, *parameters()]))
            continue
        if value is None:
            continue
        if len(readers) > 1 and not all(c.cls.specs()[name].shared for c in readers):
            unknown.append(_ambiguous(name, readers))
            continue
        coerced = spec.coerce(value)
        wrong = spec.problems(name, coerced)
        problems.place(name, wrong)
        for one in readers:
            inside = one.inside.get(name, coerced)
            if inside != coerced and not wrong:
                unknown.append(_twice(name, one.kind, inside, coerced))
            elif name not in one.inside:
                one.beside[name] = coerced
        if not claiming:
            loose[name] = coerced
    return loose


def _declared(name: str) -> Spec | None:
    kinds = parameters().get(name)
    return None if kinds is None else next(iter(kinds.values()))


def _ambiguous(name: str, readers: list[_Chosen]) -> str:
    both = [f"{c.kind} {c.cls.name!r}" for c in readers]
    last = readers[-1]
    return (
        f"{name} is a parameter of {' and of '.join(both)}: write it inside the parentheses, as "
        f'{last.kind}="{last.cls.name}({name}=...)"'
    )


def _mirror(
    given: Mapping[str, Any],
    values: dict[str, Any],
    choices: Mapping[str, _Chosen],
    unknown: list[str],
) -> None:
    """The field that attacks on data read, too, is the same in both places."""
    attack = choices.get("attack")
    if attack is None or MIRRORED not in attack.cls.specs():
        return
    beside, inside = values[MIRRORED], attack.inside.get(MIRRORED)
    if inside is None:
        attack.beside[MIRRORED] = beside
    elif MIRRORED in given and inside != beside:
        unknown.append(_twice(MIRRORED, "attack", inside, beside))


def _twice(name: str, kind: str, inside: Any, beside: Any) -> str:
    return (
        f"{name} is given twice, in {kind} as {inside!r} and beside it as {beside!r}: give it once"
    )


def _shared(choices: Mapping[str, _Chosen], problems: _Problems) -> dict[str, Any]:
    """The value of each shared parameter, of which all chosen components have the same."""
    result: dict[str, Any] = {}
    owners: dict[str, list[tuple[_Chosen, Any]]] = {}
    for chosen in choices.values():
        for name, spec in chosen.cls.specs().items():
            if spec.shared:
                owners.setdefault(name, []).append((chosen, chosen.values.get(name, REQUIRED)))
    for name, pairs in owners.items():
        explicit = {value for _, value in pairs if value is not REQUIRED}
        if len(explicit) > 1:
            both = " and ".join(f"{c.kind} {c.cls.name!r} ({v})" for c, v in pairs)
            problems.rest.append(f"{name} must be the same for {both}: give it once")
        elif explicit:
            result[name] = explicit.pop()
        elif len(pairs) > 1:
            defaults = [chosen.cls.specs()[name].default for chosen, _ in pairs]
            if REQUIRED not in defaults:
                result[name] = defaults[0]
    return result


def _unread(loose: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={loose[name]!r} is read by none of the chosen components "
        f"({', '.join(sorted(readers_of(name)))} would)"
        for name in sorted(loose)
    ]
