"""What a comparison with a baseline leaves behind: baseline.json, and properties for JUnit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.comparison import ASR_EFFECT, Arm, Comparison
from fedcore.harness.baselines.report import headline, rule
from fedcore.harness.statistics.noninferiority import ALPHA, MINIMUM_EFFECT, Shifts
from fedcore.records.stamp import stamp
from fedcore.records.store import write_atomically

COMPARISON_SCHEMA = 2


def document(
    result: Comparison,
    file: str,
    here: str,
    repeat: str,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of baseline.json: verdict, rule, what became of each cell, and every test.

    ``here`` is this machine's class. Differences are now minus recorded, in percentage points;
    ``changes`` are runs that do not repeat their baseline (on the machine class that recorded it);
    ``interval`` is two-sided at 1 - 2 alpha and not corrected for the number of tests, which
    ``p_holm`` is. Tests of metric asr are of the attack success rate, where a rise is worse.
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
        "level": 1 - 2 * ALPHA,
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
    for test in _tests(result):
        if test["level"] != "arm" and test["mean"] is not None:
            low, high = test["interval"]
            metric = "" if test["metric"] == "accuracy" else f"{test['metric']} of "
            yield (
                f"fedcore.baseline.{metric}{test['name']}",
                f"{test['mean']:.4f} [{low:.4f}, {high:.4f}] n={test['seeds']} "
                f"p={test['p_holm']:.3g} after Holm",
            )


def write(content: dict[str, Any], directory: Path) -> Path:
    """Write baseline.json in one step. OSError if that fails."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "baseline.json"
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _tests(result: Comparison) -> Iterator[dict[str, Any]]:
    if result.tests is not None:
        yield from _family("accuracy", result.arms, result.tests, MINIMUM_EFFECT)
    if result.asr_tests is not None:
        yield from _family("asr", result.asr_arms, result.asr_tests, ASR_EFFECT, sign=-1)


def _family(
    metric: str, arms: Sequence[Arm], tests: Shifts, effect: float, sign: float = 1
) -> Iterator[dict[str, Any]]:
    """Every test of one family; ``sign`` -1 where it tested the negative of the differences."""
    worse = tests.worse_than(effect)
    pooled = [("all", "all arms"), *(("strategy", name) for name in tests.strategies)]
    for i, (level, name) in enumerate([*pooled, *(("arm", arm.name) for arm in arms)]):
        mean, reach = sign * float(tests.mean[i]), float(tests.reach[i])
        known = math.isfinite(mean)
        found: dict[str, Any] = {
            "metric": metric,
            "level": level,
            "name": name,
            "mean": mean if known else None,
            "interval": [mean - reach, mean + reach] if known else None,
            "seeds": int(tests.seeds[i]),
            "p": float(tests.p[i]),
            "p_holm": float(tests.adjusted[i]),
            "worse": bool(worse[i]),
        }
        if level == "arm":
            differences = arms[i - len(pooled)].differences
            found["differences"] = {str(seed): value for seed, value in differences.items()}
        yield found
