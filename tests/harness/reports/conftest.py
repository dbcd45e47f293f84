"""Outcomes made by hand, with the gates that judge_cell would put on them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.statistics.convergence import Progress, Trend, progress
from fedcore.harness.statistics.estimates import Noise, estimate, judge
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.course import Course
from fedcore.harness.suite.measures import Gate
from fedcore.harness.suite.outcome import Outcome
from fedcore.harness.suite.thresholds import Threshold

NOISE = Noise(1.5, 4)
CLEAN = (93.0, 92.0, 94.0)
LABEL_FLIP = {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 0.5}
TARGETED = {
    "attack": "targetedflip",
    "source_class": 0,
    "target_class": 8,
    "malicious_fraction": 0.5,
    "poison_ratio": 1.0,
}
DIRICHLET = {"partition": "dirichlet", "alpha": 0.1}
PATHOLOGICAL = {"partition": "pathological", "classes_per_client": 2}
CONTROL = Scenario(**LABEL_FLIP)

# of three seeds each: by 0, by 4 and by [-9.3, 11.3] points in ten rounds, and a short tail
FLAT = progress([Trend(0.0, 0.01)] * 3)
RISING = progress([Trend(0.4, 0.01)] * 3)
OPEN = progress([Trend(0.3, 0.5), Trend(-0.2, 0.5), Trend(0.2, 0.5)])
SHORT = None

Limit = tuple[str, float | None, float | None]


def outcome(
    *limits: Limit,
    clean: tuple[float, ...] = CLEAN,
    poisoned: tuple[float, ...] = (),
    asr: tuple[float, ...] = (),
    control: tuple[float, ...] = (30.0, 31.0, 32.0),
    errors: tuple[str, ...] = (),
    diverged: tuple[str, ...] = (),
    calm: Progress | None = FLAT,
    struck: Progress | None = FLAT,
    **fields: Any,
) -> Outcome:
    """An outcome over seeds 0, 1, 2; ``limits`` are (metric, min, max).

    ``calm`` and ``struck`` say whether its clean and its attacked arm have converged.
    """
    scenario = Scenario(**fields)
    drop = tuple(c - p for c, p in zip(clean, poisoned, strict=False))
    values = {"clean": clean, "drop": drop, "asr": asr, "control": control}
    gates = []
    for metric, low, high in limits:
        found = estimate(values[metric], NOISE)
        threshold = Threshold(f"{metric}.sample", metric, low, high, f"why {metric} & <so>", {})
        gates.append(Gate(threshold, found, judge(found, low, high)))
    cell = Cell(scenario.id, scenario, 3, CONTROL if scenario.attack else None)
    course = Course(calm, struck if scenario.attack else None, None) if clean else None
    return Outcome(
        cell, (0, 1, 2), clean, poisoned, asr, tuple(gates), errors, diverged, NOISE, course=course
    )


def suite() -> list[Outcome]:
    """One cell of each verdict but ERROR, and the widest usual row."""
    return [
        outcome(("clean", 85, 99)),
        outcome(("drop", None, 8), poisoned=(60.0, 70.0, 71.0), **LABEL_FLIP),
        outcome(
            ("drop", None, 12.5),
            ("asr", None, 20),
            ("control", 10, None),
            poisoned=(89.0, 88.5, 90.0),
            asr=(99.0, 100.0, 100.0),
            strategy="trimmedmean",
            **PATHOLOGICAL,
            **TARGETED,
        ),
        outcome(
            ("drop", None, 8),
            ("control", 50, None),
            poisoned=(89.0, 88.5, 90.0),
            strategy="fednova",
            **DIRICHLET,
            **LABEL_FLIP,
        ),
        outcome(
            ("drop", None, 4),
            poisoned=(89.0, 88.5, 90.0),
            strategy="fednova",
            model="mobilenet_v2",
            **DIRICHLET,
            **LABEL_FLIP,
        ),
    ]


@pytest.fixture
def samples() -> SimpleNamespace:
    """What this file defines: `outcome`, `suite` and the constants."""
    return SimpleNamespace(**globals())
