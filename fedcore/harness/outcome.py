"""Outcome: what is known about a cell once its runs are done, and what its gates say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedcore.harness.audit import (
    audit_problems,
    buffer_problems,
    effect_problems,
)
from fedcore.harness.cells import Cell
from fedcore.harness.gates import Estimate, Noise, Verdict, estimate, judge, worst
from fedcore.harness.published import published_limits
from fedcore.harness.skill import tail_skill
from fedcore.harness.store import Run
from fedcore.harness.thresholds import CONTROLS, Threshold, Thresholds
from fedcore.harness.worker import Failure
from fedcore.record import Record
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Gate:
    """One threshold applied to one estimate."""

    threshold: Threshold
    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """The judgement of ``cell`` on ``seeds``. Accuracies in percent, drops in percentage points.

    For a clean cell ``poisoned``, ``drop`` and ``asr`` are empty. ``errors`` are runs that failed,
    failed audits and broken pairs; ``diverged`` names runs that left the finite numbers and count
    at chance. ``epsilon_total`` is by seed the largest total of a client, None where there is no
    bound; empty where nothing is private. ``class_names`` and ``data_notes`` are the data set's.
    ``notes`` are what strategies remark of their runs.
    """

    cell: Cell
    seeds: tuple[int, ...]
    clean: tuple[float, ...]
    poisoned: tuple[float, ...]
    asr: tuple[float, ...]
    gates: tuple[Gate, ...]
    errors: tuple[str, ...]
    diverged: tuple[str, ...]
    noise: Noise
    confidence: float = 0.9
    epsilon_total: tuple[float | None, ...] = ()
    class_names: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def on_data_of(self, results: Iterable[Record | Failure]) -> Outcome:
        """This outcome with the class names and notes of the data that ``results`` are from."""
        known = [r.provenance for r in results if isinstance(r, Record)]
        if not known:
            return self
        notes = tuple(dict.fromkeys(note for p in known for note in p.data_notes))
        return replace(self, class_names=known[0].class_names, data_notes=notes)

    @property
    def drop(self) -> tuple[float, ...]:
        """Clean minus poisoned, by seed."""
        return tuple(c - p for c, p in zip(self.clean, self.poisoned, strict=False))

    @property
    def retention(self) -> float | None:
        """Mean poisoned over mean clean accuracy."""
        return sum(self.poisoned) / sum(self.clean) if self.poisoned and sum(self.clean) else None

    @property
    def verdict(self) -> Verdict:
        """Of all gates together; open without a limit.

        Void where the undefended control shows no effect or the clean twin has learned nothing.
        """
        if self.errors:
            return Verdict.ERROR
        control = [g.verdict for g in self.gates if g.threshold.metric in CONTROLS]
        if Verdict.FAIL in control:
            return Verdict.VOID
        if len(control) == len(self.gates):
            return Verdict.OPEN  # a control alone says nothing about the cell
        found = worst([g.verdict for g in self.gates])
        shown = found is Verdict.PASS and self.cell.reported is not None
        return Verdict.OPEN if shown else found

    def spread(self, values: Sequence[float]) -> Estimate | None:
        """Mean and interval of ``values``, None if there are none."""
        return estimate(values, self.noise, self.confidence) if values else None


def judge_cell(
    cell: Cell,
    seeds: Sequence[int],
    results: Mapping[Run, Record | Failure],
    thresholds: Thresholds,
    confidence: float = 0.9,
) -> Outcome:
    """The outcome of ``cell`` from the results of its runs on ``seeds``.

    ``confidence`` is the level of its intervals, see `fedcore.harness.gates.confidence`.
    """
    errors = [
        f"{run.id}: {result.message}"
        for run in cell.runs(seeds)
        if isinstance(result := results[run], Failure)
    ]
    records = {run: r for run, r in results.items() if isinstance(r, Record)}
    attacked = cell.scenario.attack is not None
    twin = cell.scenario.clean_twin()
    diverged = [
        f"{run.id} in round {records[run].diverged}"
        for run in cell.runs(seeds)
        if run in records and records[run].diverged is not None
    ]
    if errors:
        empty: tuple[()] = ()
        found_wrong = (tuple(errors), tuple(diverged), thresholds.noise, confidence)
        return Outcome(cell, tuple(seeds), empty, empty, empty, empty, *found_wrong)

    def of(scenario: Scenario, value: Callable[[Record], float | None]) -> tuple[float, ...]:
        found = [value(records[Run(scenario, seed)]) for seed in seeds]
        return tuple(100 * v for v in found if v is not None)

    def tail(record: Record) -> float:
        return record.tail_accuracy

    notes = tuple(
        f"{run.id}: {note}" for run in cell.runs(seeds) for note in records[run].audit.notes
    )
    statements = [records[Run(cell.scenario, seed)].audit.privacy for seed in seeds]
    clean = of(twin, tail)
    poisoned = of(cell.scenario, tail) if attacked else ()
    asr = of(cell.scenario, lambda record: record.tail_asr) if attacked else ()
    for run in cell.runs(seeds):
        errors += audit_problems(records[run])
    errors += buffer_problems(cell.scenario)
    for arm in dict.fromkeys((cell.scenario, cell.control)):
        if arm is not None and arm.attack is not None:
            for seed in seeds:
                pair = records[Run(arm.clean_twin(), seed)], records[Run(arm, seed)]
                errors += [*unpaired(*pair), *effect_problems(*pair)]
    gates: list[Gate] = []
    if cell.published is not None or cell.reported is not None:
        accuracy = estimate(poisoned if attacked else clean, thresholds.noise, confidence)
        classes = len(records[Run(cell.scenario, seeds[0])].recall[0])
        judged = published_limits(cell.scenario, accuracy, classes, cell.published, cell.reported)
        gates = [Gate(threshold, accuracy, verdict) for threshold, verdict in judged]
        return Outcome(
            cell, tuple(seeds), clean, poisoned, asr, tuple(gates), tuple(errors), tuple(diverged),
            thresholds.noise,
            confidence,
            notes=notes,
        )  # fmt: skip
    measured: dict[str, tuple[float, ...]] = {}
    if attacked:
        measured["drop"] = tuple(c - p for c, p in zip(clean, poisoned, strict=True))
        measured["asr"] = asr
        measured["twin_skill"] = of(twin, tail_skill)
    else:
        measured["clean"] = clean
        measured["skill"] = of(twin, tail_skill)
    if cell.control is not None:
        calm, struck = of(cell.control.clean_twin(), tail), of(cell.control, tail)
        measured["control"] = tuple(c - p for c, p in zip(calm, struck, strict=True))
        measured["control_asr"] = of(cell.control, lambda record: record.tail_asr)
    for metric, values in measured.items():
        arms = {"control": cell.control, "control_asr": cell.control, "twin_skill": twin}
        subject = arms.get(metric, cell.scenario)
        assert subject is not None
        threshold = thresholds.of(metric, subject)
        if threshold is not None and values:
            found = estimate(values, thresholds.noise, confidence)
            gates.append(Gate(threshold, found, judge(found, threshold.min, threshold.max)))
    return Outcome(
        cell, tuple(seeds), clean, poisoned, asr, tuple(gates), tuple(errors), tuple(diverged),
        thresholds.noise,
        confidence,
        tuple(told.epsilon_total for told in statements if told is not None),
        notes=notes,
    )  # fmt: skip


def _in_both(name: str, *records: Record) -> list[str]:
    """Keys that each record has in a part of its provenance."""
    keys = [{key for key, _ in getattr(record.provenance, name)} for record in records]
    return sorted(set.intersection(*keys))


def _entry(name: str, key: str, record: Record) -> str | None:
    """The digest or version of ``key`` in a part of the provenance."""
    return dict(getattr(record.provenance, name)).get(key)


def unpaired(clean: Record, poisoned: Record) -> list[str]:
    """What a clean twin and a poisoned run of one seed fail to share, as messages."""
    shared: dict[str, Callable[[Record], Any]] = {
        "samples per client": lambda r: r.audit.samples,
        "local epochs": lambda r: r.audit.epochs,
        "cohorts": lambda r: r.audit.cohorts,
        "data": lambda r: r.provenance.data,
        "code": lambda r: r.provenance.code,
        "machine": lambda r: (r.provenance.torch, r.provenance.machine, r.provenance.device),
        "kernels": lambda r: r.provenance.kernels,
    }
    one, other = clean.scenario, poisoned.scenario
    if one.weights == other.weights:
        shared["weights"] = lambda r: r.provenance.weights
    # what only one of them has need of is no difference, nor is the code of another component
    for key in _in_both("versions", clean, poisoned):
        shared[f"version of {key}"] = functools.partial(_entry, "versions", key)
    for key in _in_both("foreign", clean, poisoned):
        if getattr(one, key, None) == getattr(other, key, None):
            shared[f"code of {key}"] = functools.partial(_entry, "foreign", key)
    name = f"{poisoned.scenario.id} seed {poisoned.seed}"
    return [
        f"{name} and its clean twin are no pair: they differ in {what}"
        for what, value in shared.items()
        if value(clean) != value(poisoned)
    ]
