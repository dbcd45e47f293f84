"""Rows: an outcome as plain values, the one form that every table, file and figure is made from.

What is rendered now and what is rendered later from results.json are therefore the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedcore.harness.reports.clients import accuracy_row, detection_row
from fedcore.harness.reports.curves import curves_row
from fedcore.harness.reports.metrics import metrics_row
from fedcore.harness.suite.thresholds import CONTROLS
from fedcore.scenario import naming

if TYPE_CHECKING:
    from fedcore.harness.statistics.convergence import Progress
    from fedcore.harness.statistics.estimates import Estimate
    from fedcore.harness.suite.course import Course
    from fedcore.harness.suite.measures import Gate
    from fedcore.harness.suite.outcome import Outcome
    from fedcore.scenario import Scenario

Row = dict[str, Any]
MEASURED = ("clean", "poisoned", "drop", "asr")

_SEVERITY = ("FAIL", "unsure", "pass")
_OWN = ("drop", "clean", "poisoned", "retention", "asr", "skill", *CONTROLS)


def row(outcome: Outcome) -> Row:
    """``outcome`` as JSON takes it. Accuracies and ASR in percent, drop in percentage points.

    Keys: id, hash, twin (hash of the clean twin), labels (what tables show), scenario, control,
    seeds, values (per seed, by metric), asr_twin (per seed, the clean twin's ASR in percent; empty
    where it is not measured), estimates (by metric: mean, low, high, confidence; None
    without values; those of `fedcore.harness.reports.metrics` too, with what else that has),
    retention, epsilon_total (per seed; empty where nothing is private), gates,
    published (None but for the cells of a study), verdict, voids (why nothing is proven),
    unlimited (limits that were left out, and why), errors, diverged, unproven; class_names and
    data_notes of the data set, and notes of the strategy; client_accuracy and detection, of single
    clients (`fedcore.harness.reports.clients`); course (whether the arms have converged,
    `fedcore.harness.suite.course`) and curves (`fedcore.harness.reports.curves`). A cell of a
    matrix also has place (`fedcore.harness.suite.place`).
    """
    scenario = outcome.cell.scenario
    values = {
        "clean": outcome.clean,
        "poisoned": outcome.poisoned,
        "drop": outcome.drop,
        "asr": outcome.asr,
    }
    further = metrics_row(outcome)
    by_seed, spreads = further.pop("values"), further.pop("estimates")
    return {
        "id": outcome.cell.id,
        "hash": scenario.hash,
        "twin": scenario.clean_twin().hash,
        "labels": labels(outcome.cell.id, scenario),
        "scenario": scenario.to_dict(),
        "control": outcome.cell.control.id if outcome.cell.control is not None else None,
        "seeds": list(outcome.seeds),
        "values": {metric: list(found) for metric, found in values.items()} | by_seed,
        "asr_twin": list(outcome.asr_twin),
        "estimates": {metric: _spread(outcome, found, metric) for metric, found in values.items()}
        | spreads,
        "retention": outcome.retention,
        "epsilon_total": list(outcome.epsilon_total),
        "gates": [_gate(gate) for gate in outcome.gates],
        "published": _published(outcome),
        "verdict": outcome.verdict.value,
        "voids": list(outcome.voids),
        "unlimited": list(outcome.unlimited),
        "errors": list(outcome.errors),
        "diverged": list(outcome.diverged),
        "class_names": list(outcome.class_names),
        "data_notes": list(outcome.data_notes),
        "notes": list(outcome.notes),
        "unproven": list(outcome.unproven),
        "client_accuracy": accuracy_row(outcome.clients),
        "detection": detection_row(outcome.clients, outcome.seeds),
        **further,
        "course": _course(outcome.course),
        "curves": curves_row(outcome.curves, lambda values: _spread(outcome, values)),
        **({} if outcome.cell.place is None else {"place": dataclasses.asdict(outcome.cell.place)}),
    }


def _course(course: Course | None) -> dict[str, Any] | None:
    if course is None:
        return None
    return {
        "clean": _progress(course.clean),
        "attacked": _progress(course.attacked),
        "exposure": dataclasses.asdict(course.exposure) if course.exposure else None,
    }


def _progress(found: Progress | None) -> dict[str, Any] | None:
    """The rise in points per ten rounds with its interval, and flat, rising or open."""
    return None if found is None else {**_estimate(found.rise), "state": found.state.value}


def labels(cell_id: str, scenario: Scenario) -> dict[str, str | None]:
    """What tables show of a cell: names, shares in percent, and ``note``.

    ``note`` holds the tokens of the id beyond strategy, partition and attack: what sets the cell
    apart from the suite's base, such as another model. Empty for most cells.
    """
    attack = naming.attack_tokens(scenario)
    head = [naming.strategy_token(scenario), naming.partition_token(scenario), *attack]
    tokens = cell_id.split("-")
    note = tokens[len(head) :] if tokens[: len(head)] == head else tokens
    clean = scenario.attack is None
    data = None if clean else scenario.parts.attack.data
    return {
        "strategy": head[0],
        "partition": head[1],
        "attack": naming.token(scenario.attack or "clean"),
        "variant": None if clean else attack[0],
        "redraw": "redraw" if scenario.redraw else None,
        "malicious": None if clean else _percent(scenario.malicious_fraction),
        "poison": _percent(data.poison_ratio) if data is not None else None,
        "note": "-".join(note),
    }


def deciding_gate(cell: Row) -> Mapping[str, Any] | None:
    """The gate that a cell's verdict rests on: the control's if void, else the worst one.

    Among equals the cell's own drop or clean accuracy comes first. None where no gate decides: the
    cell is void as something could not be measured, or none of its gates is on the cell itself.
    """
    own = any(gate["metric"] not in CONTROLS for gate in cell["gates"])
    if cell.get("voids") or (cell["verdict"] == "no limit" and not own):
        return None

    def rank(gate: Mapping[str, Any]) -> tuple[int, int]:
        if cell["verdict"] == "VOID":
            return int(gate["metric"] not in CONTROLS), _SEVERITY.index(gate["verdict"])
        return _SEVERITY.index(gate["verdict"]), _OWN.index(gate["metric"])

    return min(cell["gates"], key=rank, default=None)


def mean(cell: Row, metric: str) -> float | None:
    """The mean of ``metric`` over the seeds, None if it was not measured."""
    found = cell["estimates"].get(metric)
    return None if found is None else float(found["mean"])


def half_width(cell: Row, metric: str) -> float | None:
    """Half the interval of ``metric``, None if there is none."""
    found = cell["estimates"][metric]
    if found is None or found["low"] is None:
        return None
    return float(found["high"] - found["low"]) / 2


def confidence(cells: Sequence[Row]) -> float | None:
    """The level of the intervals in ``cells``, None where there are none."""
    found = (cell["estimates"][metric] for cell in cells for metric in MEASURED)
    return next((e["confidence"] for e in found if e and e["confidence"] is not None), None)


def _published(outcome: Outcome) -> dict[str, Any] | None:
    """What a study printed for the cell, and the difference of the mean from it, in points."""
    cell, known = outcome.cell, outcome.cell.published
    if known is None and cell.reported is None:
        return None
    values = outcome.poisoned if cell.scenario.attack is not None else outcome.clean
    found = sum(values) / len(values) if values else None
    return {
        "value": None if known is None else known.value,
        "runs": None if known is None else known.runs,
        "sd": None if known is None else known.sd,
        "tolerance": None if known is None else known.tolerance(len(outcome.seeds)),
        "source": None if known is None else known.source,
        "difference": None if known is None or found is None else found - known.value,
        "reported": cell.reported,
    }


def _percent(share: float) -> str:
    return naming.percent(share).removesuffix("pct")


def _spread(
    outcome: Outcome, values: Sequence[float], metric: str = ""
) -> dict[str, float | None] | None:
    if not values:
        return None
    try:
        found = outcome.spread(values, metric)
    except ValueError:  # a single seed without prior knowledge of the noise: a mean is all
        average = sum(values) / len(values)
        return {"mean": average, "low": None, "high": None, "confidence": None}
    assert found is not None
    return _estimate(found)


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    threshold = gate.threshold
    return {
        "threshold": threshold.name,
        "metric": threshold.metric,
        "min": threshold.min,
        "max": threshold.max,
        "limit": threshold.limit,
        "reason": threshold.reason,
        "estimate": {**_estimate(gate.estimate), "seeds": gate.estimate.seeds},
        "verdict": gate.verdict.value,
    }
