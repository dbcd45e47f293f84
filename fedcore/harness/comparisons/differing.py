"""What changed between two sessions beside their numbers: code, versions, machine, options."""

from __future__ import annotations

from fedcore.harness.comparisons.side import FACTS, Side

Changes = dict[str, tuple[str | None, str | None]]


def changed_facts(a: Side, b: Side) -> Changes:
    """(A, B) of each fact that differs, in the order in which facts are shown.

    None stands for what a side does not say; what only one says is left out, unless it is of the
    same kind of file.
    """
    names = dict.fromkeys([*FACTS, *a.facts, *b.facts])
    found: Changes = {}
    for name in names:
        before, now = a.facts.get(name), b.facts.get(name)
        silent = before is None or now is None
        if before != now and not (silent and a.kind != b.kind):
            found[name] = before, now
    for kind, mine, other in (("data", a.data, b.data), ("weights", a.weights, b.weights)):
        for name in dict.fromkeys([*mine, *other]):
            if name in mine and name in other and mine[name] != other[name]:
                found[f"{kind} {name}"] = mine[name], other[name]
    return found
