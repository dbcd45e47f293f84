"""What a comparison with a baseline leaves behind: baseline.json, and properties for JUnit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.comparison import Comparison
from fedcore.harness.baselines.report import headline, rule
from fedcore.harness.statistics.portable import ALPHA, ARM, DIVERGED
from fedcore.records.stamp import stamp
from fedcore.records.store import write_atomically

COMPARISON_SCHEMA = 3


def document(
    result: Comparison,
    file: str,
    here: str,
    repeat: str,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of baseline.json: verdict, rule, what became of each cell, and every test.

    ``here`` is this machine's class. ``gate`` says which one has judged: "bits" on the machine
    class that recorded the baseline, else "portable" (`statistics.portable`), whose tests are all
    there, with their corrected p. Differences are now minus recorded, in percentage points;
    ``changes`` are runs that do not repeat their baseline (on the machine class that recorded it).
    Of metric asr, the attack success rate, a rise is worse.
    """
    return {
        **stamp(COMPARISON_SCHEMA, repeat, origin),
        "machine": here,
        "recorded_on": result.recorded_on,
        "exact": result.exact,
        "file": file,
        "verdict": verdict(result),
        "headline": headline(result),
        "rule": rule(result),
        "gate": "bits" if result.exact else "portable",
        "alpha": ALPHA,
        "scales": {} if result.tests is None else dict(result.tests.scales),
        "cells": {
            "unchanged": result.unchanged,
            "changed": result.changed,
            "new": result.new,
            "not selected": result.unselected,
            "too few seeds": result.short,
            "without values": result.unmeasured,
            "redefined": result.redefined,
            "gone": result.gone,
        },
        "changes": [
            {
                "arm": change.name,
                "seed": change.seed,
                "round": change.where.round,
                "difference": change.where.text,
                "tail": change.tail,
            }
            for change in result.changes
        ],
        "tests": list(_tests(result)),
    }


def verdict(result: Comparison) -> str:
    """``FAIL``, ``pass``, or ``open`` where nothing could be compared."""
    if result.failed:
        return "FAIL"
    return "pass" if result.judged else "open"


def properties(result: Comparison) -> Iterator[tuple[str, str]]:
    """The verdict, the rule and the test over all arms, for JUnit."""
    yield "fedcore.baseline", headline(result)
    yield "fedcore.baseline.verdict", verdict(result)
    yield "fedcore.baseline.rule", rule(result)
    yield "fedcore.baseline.gate", "bits" if result.exact else "portable"
    for test in _tests(result):
        if test["family"] not in (ARM, DIVERGED) and test["size"] is not None:
            metric = "" if test["metric"] == "accuracy" else f"{test['metric']} of "
            yield (
                f"fedcore.baseline.{metric}{test['name']}",
                f"{test['size']:.4f} pp, {test['direction']}, n={test['pairs']} "
                f"p={test['p_holm']:.3g} after Holm",
            )
        elif test["family"] == DIVERGED:
            before, now = test["diverged"]
            yield "fedcore.baseline.diverged", f"{before} -> {now}, p={test['p_holm']:.3g}"


def write(content: dict[str, Any], directory: Path) -> Path:
    """Write baseline.json in one step. OSError if that fails."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "baseline.json"
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _tests(result: Comparison) -> Iterator[dict[str, Any]]:
    """Every test of the gate of other machine classes."""
    if result.tests is None:
        return
    differences = {arm.paired.id: arm.differences for arm in result.arms}
    for test in result.tests.tests:
        found: dict[str, Any] = {
            "metric": test.metric,
            "family": test.family,
            "name": test.name,
            "direction": test.direction,
            "size": test.size,
            "mean": test.mean,
            "score": test.score,
            "pairs": test.pairs,
            "arms": len(test.arms),
            "diverged": list(test.diverged),
            "p": test.p,
            "p_holm": test.adjusted,
            "found": test.found,
        }
        if test.family == ARM:
            found["differences"] = {str(s): v for s, v in differences[test.name].items()}
        yield found
