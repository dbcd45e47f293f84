"""A comparison as JSON, and its verdict in a word and in a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedcore.harness.comparisons.comparison import Comparison
from fedcore.harness.comparisons.differing import changed_facts
from fedcore.harness.comparisons.findings import rule
from fedcore.harness.comparisons.pairing import Pair
from fedcore.harness.comparisons.side import Side
from fedcore.harness.comparisons.standings import standings

COMPARE_SCHEMA = 1
#: Exit statuses by verdict. "alike": bits differ, and nothing significantly.
STATUS = {"equal": 0, "alike": 0, "differs": 1, "incomparable": 2}


def document(result: Comparison, command: str) -> dict[str, Any]:
    """The content of the file of ``--json``; ``command`` made it.

    Differences are B - A, in percentage points. ``verdict`` is a key of `STATUS`. ``runs.changed``
    are the runs that differ in a bit, ``tests`` every `findings.Finding`, ``arms`` all that was
    compared, value by value, ``standings`` those of each side over the cells in both.
    """
    found = result.pairing
    keys = {pair.a.known.key for pair in found.arms}
    return {
        "schema": COMPARE_SCHEMA,
        "command": command,
        "verdict": verdict(result),
        "status": STATUS[verdict(result)],
        "headline": headline(result),
        "rule": rules(result),
        "confidence": 1 - result.alpha,
        "scales": dict(result.scales),
        "exact": result.exact,
        "same_machine": result.same_machine,
        "a": _side(result.a),
        "b": _side(result.b),
        "changed": {what: list(both) for what, both in changed_facts(result.a, result.b).items()},
        "cells": {name: value for name, value in vars(found).items() if name != "arms"},
        "runs": {
            "paired": found.runs,
            "traced": result.traced,
            "equal": found.runs - len(result.changed),
            "changed": [
                {
                    "arm": change.name,
                    "seed": change.seed,
                    "round": change.where.round,
                    "difference": change.where.text,
                    "tail": change.tail,
                }
                for change in result.changed
            ],
        },
        "tests": [dataclasses.asdict(finding) for finding in result.findings],
        "arms": [_arm(pair) for pair in found.arms],
        "standings": {"a": standings(result.a, keys), "b": standings(result.b, keys)},
    }


def verdict(result: Comparison) -> str:
    """A key of `STATUS`."""
    if not result.compared:
        return "incomparable"
    if result.differs:
        return "differs"
    return "alike" if result.changed else "equal"


def headline(result: Comparison) -> str:
    """The verdict in one line: how much is worse, better, failed, or differs in a bit."""
    found, word = result.pairing, verdict(result)
    if word == "incomparable":
        return (
            "nothing can be compared: no scenario is in both with a seed in common and equal data"
        )
    runs = f"{found.runs} run{'s' if found.runs != 1 else ''}"
    if word == "equal":
        how = "every bit" if result.traced == found.runs else "every tail value"
        return f"equal: {runs} in both, {how} repeats"
    bits = f"{len(result.changed)} of {runs} differ in a bit"
    if word == "alike":
        return f"no significant difference: {bits}"
    worse, better = (
        sum(f.direction == direction for f in result.significant)
        for direction in ("worse", "better")
    )
    parts = [f"{worse} worse, {better} better"] if worse or better else []
    failed = (("A", found.failed_a), ("B", found.failed_b))
    parts += [f"{len(cells)} cells have errors in {side} alone" for side, cells in failed if cells]
    alone = "; nothing is significantly worse or better" if not parts else ""
    return f"B DIFFERS from A: {'; '.join([*parts, bits])}{alone}"


def rules(result: Comparison) -> str:
    """By which rule the verdict was reached, and why that one."""
    if result.exact:
        why = "one machine class made both" if result.same_machine else "as --rule exact asks"
        return f"{why}: any bit that differs counts; beside it, {rule(result.alpha, result.scales)}"
    why = {
        True: "as --rule statistical asks",
        False: "two machine classes, whose roundings differ",
        None: "not both sides say of which machine class they are",
    }[result.same_machine]
    return f"{why}: {rule(result.alpha, result.scales)}"


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "kind": side.kind,
        "class": side.machine_class,
        "facts": side.facts,
        "data": side.data,
        "weights": side.weights,
        "cells": len(side.cells),
        "notes": side.notes,
    }


def _arm(pair: Pair) -> dict[str, Any]:
    return {
        "name": pair.name,
        "hash": pair.a.known.key,
        "strategy": pair.strategy,
        "partition": pair.a.known.partition,
        "attacked": not pair.a.known.clean,
        "accuracy": _values(pair.accuracy),
        "asr": _values(pair.asr),
        "only_a": pair.uneven[0],
        "only_b": pair.uneven[1],
        "diverged_a": sorted(pair.a.diverged & pair.accuracy.keys()),
        "diverged_b": sorted(pair.b.diverged & pair.accuracy.keys()),
    }


def _values(values: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    """Seeds, both values and B - A, each a list in the order of the seeds."""
    return {
        "seeds": list(values),
        "a": [a for a, _ in values.values()],
        "b": [b for _, b in values.values()],
        "difference": [b - a for a, b in values.values()],
    }
