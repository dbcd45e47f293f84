"""Confounds: in what two compared arms differ beyond the factor that is being compared.

The study that this project starts from compared "FedAvg with FedNova" and thereby Adam with
proximal SGD. An undeclared difference is refused, with the list.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedcore.components.registry import REQUIRED
from fedcore.errors import FedcoreError, unknown_name
from fedcore.scenario import Scenario
from fedcore.scenario.validation import entries, registries


class ConfoundError(FedcoreError, ValueError):
    """A comparison that would not say what its factor does; ``differences`` lists why."""

    def __init__(self, name: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        lines = "\n".join(f"  - {difference}" for difference in self.differences)
        super().__init__(f"the comparison {name} is confounded:\n{lines}")


def confounds(a: Scenario, b: Scenario, factor: Collection[str]) -> list[str]:
    """Fields in which ``a`` and ``b`` differ beyond ``factor``, as ``field: value vs value``.

    ``factor`` names scenario fields. A component field (``strategy``, ``partition``, ...) brings
    its parameters along that nobody chose: those that each arm which reads them leaves at its
    component's own default. A parameter without a default comes along where only one of the two
    reads it: Dirichlet is not to be had without ``alpha``. All else is listed, such as
    ``server_lr=0.5`` of FedNova against FedAvg, and belongs into ``factor`` where it is meant. A
    parameter that another component reads, too, is never brought along: a change of ``norm``
    changes the model.
    Raises `ConfoundError` for a name that is no field.
    """
    unknown = [unknown_name("scenario field", f, a.specs()) for f in factor if f not in a.specs()]
    if unknown:
        raise ConfoundError(f"of {a.id} and {b.id}", unknown)
    brought = _brought_along(a, b, factor)
    # an undeclared change of component is named itself; what merely follows from it is not
    brought |= _following(a, b)
    return [
        f"{name}: {getattr(a, name)} vs {getattr(b, name)}"
        for name in a.specs()
        if getattr(a, name) != getattr(b, name) and name not in factor and name not in brought
    ]


def require_comparable(name: str, a: Scenario, b: Scenario, factor: Collection[str]) -> None:
    """Raise `ConfoundError` unless ``a`` and ``b`` differ in ``factor``, and in nothing else."""
    found = confounds(a, b, factor)
    if not found and not any(getattr(a, f) != getattr(b, f) for f in factor):
        found = [f"no difference: both arms have the same {', '.join(sorted(factor))}"]
    if found:
        raise ConfoundError(name, found)


def _brought_along(a: Scenario, b: Scenario, factor: Collection[str]) -> set[str]:
    """Parameters that belong to a change of the component fields in ``factor``."""
    readers = [entries(arm) for arm in (a, b)]
    changed = {k for k in registries() if k in factor and getattr(a, k) != getattr(b, k)}
    read_elsewhere = {
        name
        for entries in readers
        for kind, entry in entries.items()
        if kind not in changed
        for name in entry.parameters
    }
    found: set[str] = set()
    for kind in changed:
        first, second = (entries[kind].parameters if kind in entries else {} for entries in readers)
        for name in {*first, *second} - read_elsewhere:
            read = [(arm, own[name]) for arm, own in ((a, first), (b, second)) if name in own]
            alone = len(read) == 1
            if all(
                alone if default is REQUIRED else getattr(arm, name) == default
                for arm, default in read
            ):
                found.add(name)
    return found


def _following(a: Scenario, b: Scenario) -> set[str]:
    """Parameters of exchanged components at their defaults on either side."""
    defaults = [
        {name: default for e in entries(arm).values() for name, default in e.parameters.items()}
        for arm in (a, b)
    ]
    kinds = {kind for kind in registries() if getattr(a, kind) != getattr(b, kind)}
    return {
        name
        for name in _brought_along(a, b, kinds)
        if all(getattr(v, name) == d.get(name) for v, d in zip((a, b), defaults, strict=True))
    }
