"""The attributes of a scenario: every name with its value, made once for what is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fedcore.components.parameters import Spec
from fedcore.components.registry import changes
from fedcore.scenario.assembly import assemble
from fedcore.scenario.parts import Parts
from fedcore.scenario.wire import MIRRORED, NAMES

_MOST: Final = 1 << 14
_states: dict[Any, dict[str, Any]] = {}


def state(given: Mapping[str, Any], own: Mapping[str, Spec]) -> dict[str, Any]:
    """The attributes of the scenario of which ``given`` is given. Raises ScenarioError.

    ``own`` are the fields that a scenario has itself.

    Suites make the same scenarios over and over, from other ones: what is known is not worked out
    again. Preconditions are not asked for here.
    """
    try:
        key = (changes(), *((n, v.__class__, _typed(v)) for n, v in given.items()))
        known = _states.get(key)
    except TypeError:  # a list, which is not hashable
        key, known = None, None
    if known is not None:
        return known
    values, chosen = assemble(given, own)
    known = {**_flat(values, chosen), "parts": chosen}
    if key is not None:
        if len(_states) >= _MOST:
            _states.clear()
        _states[key] = known
    return known


def _typed(value: Any) -> Any:
    """``value`` with its types: 1, 1.0 and True are equal and not the same."""
    if isinstance(value, tuple):
        return tuple((item.__class__, _typed(item)) for item in value)
    return value


def _flat(own: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Every name with its value, and ``_names``: those that go out, in their order.

    The component whose parameter has the name of another component's goes out in its written form.
    """
    values = dict(own)
    for kind, part in parts.single().items():
        flat = part.flat()
        specs = part.specs()
        clashes = [
            name
            for name in flat
            if name not in (kind, MIRRORED)
            and name in values
            and not (name in specs and specs[name].shared and values.get(name) == flat[name])
        ]
        values |= {kind: part.spelled()} if clashes else flat
    steps = ", ".join(step.spelled() for step in parts.preaggregation)
    values["preaggregation"] = steps or None
    newer = sorted(n for n, v in values.items() if n not in NAMES and v is not None)
    values = {**dict.fromkeys(NAMES), **values}
    return {**values, "_names": (*NAMES, *newer)}
