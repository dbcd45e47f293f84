"""`Scenario.but`: a scenario's values with changes, without what only a replaced component read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedcore.components.component import Component
from fedcore.components.kinds import SINGLE
from fedcore.components.written import Choice, choice
from fedcore.scenario.wire import MIRRORED

if TYPE_CHECKING:
    from fedcore.scenario.scenario import Scenario


def adapt(scenario: Scenario, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What makes ``scenario`` with ``changes``, for `Scenario`."""
    values = {n: v for n, v in scenario._values().items() if v is not None}
    old = scenario.parts.single()
    replaced = {k: _choice(k, changes[k]) for k in SINGLE if k in changes}
    replaced = {k: new for k, new in replaced.items() if _differs(new, old.get(k), changes[k])}
    read = set()
    for kind in SINGLE:
        cls = replaced[kind].cls if kind in replaced else type(old[kind]) if kind in old else None
        read |= set(cls.specs()) if cls is not None else set()
    for kind, new in replaced.items():
        if kind not in old:
            continue
        flat = old[kind].flat()
        own = set() if new.cls is None else set(new.cls.specs())
        for name, spec in old[kind].specs().items():
            # a component inside another is of one kind, whoever else has a parameter of its name;
            # a value left at the old component's default was never a choice
            kept = (
                name in (read if spec.kind is None else own)
                and name not in new.values
                and flat.get(name) != spec.default
            )
            if name not in changes and not kept and values.get(name) == flat.get(name):
                values.pop(name, None)
    if changes.get("attack") is not None:
        values.pop("probe", None)  # the attack brings its own
    if "attack" in replaced:
        new_attack = replaced["attack"].cls
        if changes["attack"] is None:
            values.pop("malicious_fraction")
            values.pop("malicious_set", None)
        unread = new_attack is None or MIRRORED not in new_attack.specs()
        if unread or replaced["attack"].values.get(MIRRORED):
            values.pop(MIRRORED, None)
    return {**values, **changes}


def _choice(kind: str, value: Any) -> Choice:
    if isinstance(value, Component):
        return Choice(type(value), value.parameters())
    return choice(kind, value) if isinstance(value, str) else Choice()


def _differs(new: Choice, old: Component | None, value: Any) -> bool:
    """Whether another component is chosen than ``old``, or the same by an object of its own."""
    if isinstance(value, Component) or old is None or value is None or new.values:
        return True
    return bool(value != old.called)
