"""What the tests of comparisons and updates share: outcomes, and baselines of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fedcore import Scenario
from fedcore.harness.baselines import update as baseline_update
from fedcore.harness.baselines.comparison import Comparison, against
from fedcore.harness.baselines.coverage import Coverage
from fedcore.harness.baselines.file import (
    Baseline,
    Origin,
)
from fedcore.harness.exact.trace import Trace
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome

HERE = "torch 2, this CPU, cpu"
ELSEWHERE = "torch 3, other CPU, cpu"
NOISE = Noise(2, 4)
CODES = ("code", "code")
SOURCE = Origin("2025-01-01", "c0ffee", False, "code", HERE, "this CPU", "pytest benchmark")
CLEAN = Scenario(strategy="fednova", optimizer="sgd", local_epochs=(1, 3))
MILD = CLEAN.but(attack="labelflip", malicious_fraction=0.1, poison_ratio=0.5)
STRONG = MILD.but(malicious_fraction=0.5)
TARGETED = MILD.but(attack="targetedflip", source_class=1, target_class=7)
TEST = "test_robustness.py::test_robustness"


def outcome(
    scenario: Scenario, clean: Sequence[float], poisoned: Sequence[float] = (), **changes: Any
) -> Outcome:
    found = Outcome(
        Cell("x", scenario, len(clean)),
        tuple(range(len(clean))),
        tuple(clean),
        tuple(poisoned),
        asr=(),
        gates=(),
        errors=(),
        diverged=(),
        noise=NOISE,
    )
    return dataclasses.replace(found, **changes)


OUTCOMES = {
    "clean": outcome(CLEAN, (97.0, 96.5, 96.0)),
    "mild": outcome(MILD, (97.0, 96.5, 96.0), (90.1, 0.1 + 0.2, 91.0)),
    "strong": outcome(STRONG, (97.0, 96.5, 96.0), (50.0, 60.0, 55.0)),
}

BIT_OFF = {**OUTCOMES, "mild": outcome(MILD, (97.0, 96.5, 96.0), (90.1, 0.3, 91.0))}


def covering(selected: Sequence[str] = tuple(OUTCOMES), every: Sequence[str] = ()) -> Coverage:
    tests = dict.fromkeys([*OUTCOMES, *every], TEST)
    return Coverage(tests, frozenset(selected), frozenset({"test_robustness.py"}))


def trace(tail: float, asr: float | None = None) -> Trace:
    """A run of two rounds with a tail accuracy of ``tail`` percent."""
    shares = None if asr is None else (0.0, asr / 100)
    return Trace(1000, (1, 2), (100, tail / 100), (2.3, 1 - tail / 100), shares, None, f"m{tail}")


def traces(outcomes: dict[str, Outcome]) -> dict[str, dict[int, Trace]]:
    found: dict[str, dict[int, Trace]] = {}
    for one in outcomes.values():
        scenario = one.cell.scenario
        shares = one.asr or [None] * len(one.seeds)
        for arm, values in ((scenario.clean_twin(), one.clean), (scenario, one.poisoned)):
            for seed, value, share in zip(one.seeds, values, shares, strict=False):
                given = share if arm == scenario else None
                found.setdefault(arm.hash, {})[seed] = trace(value, given)
    return found


def updated(
    old: Baseline | None, outcomes: dict[str, Outcome], coverage: Coverage, made: Origin
) -> Baseline:
    return baseline_update.updated(old, BLANK, outcomes, traces(outcomes), coverage, made)


BLANK = Baseline("mnist5k", "quick", "cpu", HERE, {"mnist5k": "digest"})
BASELINE = updated(None, OUTCOMES, covering(), SOURCE)


def compared(
    outcomes: dict[str, Outcome],
    coverage: Coverage | None = None,
    here: str = HERE,
    baseline: Baseline | None = None,
) -> Comparison:
    return against(
        baseline or BASELINE,
        outcomes,
        traces(outcomes),
        coverage or covering(tuple(outcomes)),
        here,
    )
