"""Measures of a cell by seed, and the gates on them; what could not be measured has its reason.

A metric without a value on some seed is no weaker evidence, it is none: the other seeds would no
longer be pairs, and what made the value undefined mostly holds for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fedcore.attacks.attack import success_of
from fedcore.harness.statistics.estimates import CellVerdict, Estimate, estimate, judge
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.pairs import idle as idle
from fedcore.harness.suite.pairs import named_seeds
from fedcore.harness.suite.skill import LEARNS, tail_skill
from fedcore.harness.suite.thresholds import Threshold, Thresholds, cannot_fail
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario

Records = Mapping[Run, Record]

#: What an attacked cell's clean twin is held to where a file names no limit of its own.
LEARNED = Threshold(
    "twin_skill.learned",
    "twin_skill",
    100 * LEARNS,
    None,
    "what an attack takes from an arm that has learned nothing says nothing",
    {},
)


#: What the undefended control is held to where only a requirement is asked of a cell.
BITES = Threshold(
    "control.required",
    "control",
    1.0,
    None,
    "where undefended averaging loses nothing, a defence that holds proves nothing",
    {},
)
BITES_AIMED = replace(BITES, name="control_asr.required", metric="control_asr", min=10.0)


@dataclass(frozen=True)
class Gate:
    """One threshold applied to one estimate."""

    threshold: Threshold
    estimate: Estimate
    verdict: CellVerdict


@dataclass(frozen=True)
class Measure:
    """``values`` of one metric of ``subject`` by seed, in percent or points.

    ``missing`` says why there is no value on some seeds; the values are then not to be judged.
    """

    subject: Scenario
    values: tuple[float, ...]
    missing: str | None = None


@dataclass(frozen=True)
class Gates:
    """``gates`` that were judged; ``voids`` and ``unlimited`` say why others were not.

    ``voids``: why nothing is proven. ``unlimited``: limits that could not fail, or that the file
    leaves out on purpose.
    """

    gates: tuple[Gate, ...]
    voids: tuple[str, ...]
    unlimited: tuple[str, ...]


def measures(cell: Cell, seeds: Sequence[int], records: Records) -> dict[str, Measure]:
    """Each metric of ``cell``, by name: those of its own arms, then those of its control."""
    arm, twin, control = cell.scenario, cell.scenario.clean_twin(), cell.control
    if arm.attack is None:
        return {
            "clean": _of(arm, seeds, records, _tail),
            "skill": _of(arm, seeds, records, tail_skill, _ONE_CLASS),
        }
    found = {
        "drop": _drop(arm, seeds, records),
        "asr": _asr(arm, seeds, records),
        "twin_skill": _of(twin, seeds, records, tail_skill, _ONE_CLASS),
    }
    if control is not None:
        found["control"] = _drop(control, seeds, records)
        found["control_asr"] = _asr(control, seeds, records)
        calm = _of(control.clean_twin(), seeds, records, tail_skill)
        if not found["control_asr"].missing and _mean(calm.values) < 100 * LEARNS:
            reason = "without the attack the undefended control has learned nothing"
            found["control_asr"] = Measure(control, found["control_asr"].values, reason)
    return found


def put_gates(
    cell: Cell,
    seeds: Sequence[int],
    records: Records,
    measured: Mapping[str, Measure],
    thresholds: Thresholds,
    confidence: float,
) -> Gates:
    """The gates of ``thresholds`` on what was ``measured``.

    A limit on a metric that was not measured is a void, one that could not fail on this data set is
    none. An attacked cell that is held to a limit needs a clean twin that has learned something,
    whether or not the file has a limit for it, and an undefended control that is held to one too.
    """
    chance = 100 / len(records[Run(cell.scenario, seeds[0])].recall[0])
    twins = _of(cell.scenario.clean_twin(), seeds, records, _tail)
    gates: list[Gate] = []
    voids = idle(cell, seeds, records)
    unlimited: list[str] = []

    def put(threshold: Threshold, measure: Measure) -> None:
        metric = threshold.metric
        if not threshold.exists:
            unlimited.append(f"{threshold.name}: {threshold.reason}")
        elif measure.missing is not None:
            voids.append(
                f"{metric} could not be measured, which {threshold.name} limits: {measure.missing}"
            )
        elif why := cannot_fail(threshold, chance, _mean(twins.values)):
            unlimited.append(f"{threshold.name} ({threshold.limit}) could not fail: {why}")
        else:
            try:
                kind, mean = measure.subject.partition, _mean(measure.values)
                noise = thresholds.priors.of(kind, metric, mean)
                found = estimate(measure.values, noise, confidence)
            except ValueError as error:
                voids.append(f"{metric} has no interval, which {threshold.name} needs: {error}")
                return
            gates.append(Gate(threshold, found, judge(found, threshold.min, threshold.max)))

    named = {m: thresholds.of(m, measure.subject, cell.changed) for m, measure in measured.items()}
    for metric, threshold in named.items():
        if threshold is not None:
            put(threshold, measured[metric])
        subject = measured[metric].subject
        unlimited += [
            f"{other.name} ({other.limit}) was recorded at {other.horizon} rounds, and is no limit "
            f"at {subject.rounds}"
            for other in thresholds.at_other_rounds(metric, subject, cell.changed)
        ]
    asr = measured.get("asr")
    if asr is not None and named["asr"] is None and success_of(cell.scenario) is not None:
        voids += [f"asr could not be measured: {asr.missing}"] * bool(asr.missing)
    if any(gate.threshold.metric in _OWN for gate in gates) and named["twin_skill"] is None:
        put(LEARNED, measured["twin_skill"])
    if asked := _required(cell, seeds, records, measured, thresholds, confidence):
        gates += [gate for gate in asked if isinstance(gate, Gate)]
        voids += [reason for reason in asked if isinstance(reason, str)]
        if cell.scenario.attack is not None and named["twin_skill"] is None:
            put(LEARNED, measured["twin_skill"])
        if "control" in measured and named["control"] is None and named["control_asr"] is None:
            aimed = success_of(cell.scenario) is not None
            put(
                *((BITES_AIMED, measured["control_asr"]) if aimed else (BITES, measured["control"]))
            )
    voids += _uncontrolled(cell, gates, voids)
    return Gates(tuple(gates), tuple(voids), tuple(unlimited))


def _required(
    cell: Cell,
    seeds: Sequence[int],
    records: Records,
    measured: Mapping[str, Measure],
    thresholds: Thresholds,
    confidence: float,
) -> list[Gate | str]:
    """A gate for each requirement that is asked of ``cell``, or why there is none."""
    found: list[Gate | str] = []
    kind = cell.scenario.partition
    for requirement in thresholds.requirements:
        if not requirement.fits(cell.scenario):
            continue
        name, metric = requirement.threshold.name, requirement.threshold.metric
        ratio = metric == "retention"
        own = _of(cell.scenario, seeds, records, _tail)
        twin = _of(cell.scenario.clean_twin(), seeds, records, _tail)
        measure = measured["drop"] if ratio else measured.get(metric, own)
        if measure.missing is not None:
            found.append(f"{metric} could not be measured, which {name} limits: {measure.missing}")
            continue
        prior = thresholds.priors.of(kind, "drop" if ratio else metric, _mean(measure.values))
        try:
            interval = (
                requirement.ratio(own.values, twin.values, prior, confidence)
                if ratio
                else requirement.interval(measure.values, prior, confidence)
            )
        except ValueError as error:
            found.append(f"{metric} has no interval, which {name} needs: {error}")
            continue
        found.append(Gate(requirement.threshold, interval, requirement.judge(interval)))
    return found


_ONE_CLASS = "the test set holds a single class, so that there is nothing to tell apart"
_OWN = ("drop", "asr", "poisoned", "retention")
_CONTROL = ("control", "control_asr")


def _uncontrolled(cell: Cell, gates: Sequence[Gate], voids: Sequence[str]) -> list[str]:
    """Why nothing shows that the attack bites, where the cell itself is held to a limit."""
    metrics = {gate.threshold.metric for gate in gates}
    if cell.scenario.attack is None or voids or not metrics.intersection(_OWN):
        return []
    if cell.control is None:
        return ["no undefended control is given (Cell(control=...)), so the attack may be off"]
    if metrics.intersection(_CONTROL):
        return []
    return [
        f"no limit holds the undefended control {cell.control.id}, so the attack may be off: add "
        "[control.NAME] or [control_asr.NAME] with min > 0"
    ]


def _tail(record: Record) -> float:
    return record.tail_accuracy


def _of(
    scenario: Scenario,
    seeds: Sequence[int],
    records: Records,
    value: Callable[[Record], float | None],
    reason: str = "there is no value",
) -> Measure:
    found = [value(records[Run(scenario, seed)]) for seed in seeds]
    known = tuple(100 * v for v in found if v is not None and math.isfinite(v))
    lost = [s for s, v in zip(seeds, found, strict=True) if v is None or not math.isfinite(v)]
    return Measure(scenario, known, f"{reason} ({named_seeds(lost)})" if lost else None)


def _drop(scenario: Scenario, seeds: Sequence[int], records: Records) -> Measure:
    calm, struck = (_of(s, seeds, records, _tail) for s in (scenario.clean_twin(), scenario))
    missing = calm.missing or struck.missing
    pairs = () if missing else zip(calm.values, struck.values, strict=True)
    return Measure(scenario, tuple(c - p for c, p in pairs), missing)


def _asr(scenario: Scenario, seeds: Sequence[int], records: Records) -> Measure:
    runs = [records[Run(scenario, seed)] for seed in seeds]
    success = success_of(scenario)
    classes = None if success is None else success.success_classes
    reason = f"attack {scenario.attack!r} has no success rate"
    if success is not None and classes is None:
        reason = f"the test set holds no image that attack {scenario.attack!r} could be probed with"
    elif classes is not None:
        source = classes[0]
        absent = any(row[source] is None for record in runs for row in record.recall)
        where = "the test set holds no image" if absent else "there is no value for images"
        reason = f"{where} of the source class {source}"
    measure = _of(scenario, seeds, records, lambda record: record.tail_asr, reason)
    if not measure.missing and all(record.diverged is not None for record in runs):
        return Measure(scenario, measure.values, f"every run diverged ({named_seeds(seeds)})")
    return measure


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
