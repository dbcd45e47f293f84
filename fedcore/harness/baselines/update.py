"""Recording a baseline: what would change in the file, and the new file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fedcore.errors import ScenarioError
from fedcore.harness.baselines.comparison import measured, sound
from fedcore.harness.baselines.coverage import Coverage
from fedcore.harness.baselines.file import (
    BASELINE_SCHEMA,
    Baseline,
    BaselineCell,
    BaselineError,
    Measured,
    Origin,
)
from fedcore.harness.exact.changes import Traces, arms_of
from fedcore.records.provenance import machine
from fedcore.records.stamp import stamp
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome


def source(fingerprint: str, command: str) -> Origin:
    """What makes numbers here and now."""
    head = stamp(BASELINE_SCHEMA, command)
    made = {name: head[name] for name in ("date", "commit", "dirty", "code")}
    return Origin(**made, fingerprint=fingerprint, machine=machine(), command=head["repeat"])


def updated(
    old: Baseline | None,
    blank: Baseline,
    outcomes: Mapping[str, Outcome],
    traces: Traces,
    coverage: Coverage,
    made: Origin,
) -> Baseline:
    """``old`` with ``outcomes`` and their ``traces`` in it; ``blank`` says for what it is.

    Cells that were not selected or have no values keep what is recorded; cells that are gone leave
    where all cells are selected. ``old`` itself where no number changes. Raises `BaselineError`
    where cells that are kept were made by other code, another commit or another machine.
    """
    entries = dict(old.entries) if old is not None else {}
    if coverage.complete:
        entries = {n: e for n, e in entries.items() if not coverage.gone(n, e.test)}
    measured_now = {name: outcome for name, outcome in outcomes.items() if sound(outcome)}
    kept = [name for name in entries if name not in measured_now]
    for name, outcome in measured_now.items():
        scenario = outcome.cell.scenario
        facts = {field: value for field, value in scenario.to_dict().items() if value is not None}
        entries[name] = BaselineCell(coverage.tests[name], scenario.hash, facts, measured(outcome))
    data = {**(old.data if old is not None else {}), **blank.data}
    needed = {arm.hash for o in measured_now.values() for arm in arms_of(o.cell.scenario)}
    runs = {arm: found for arm, found in traces.items() if arm in needed}
    if old is not None:
        hashes = {hash for name in kept for hash in _recorded_arms(entries[name])}
        shared = {arm: found for arm, found in old.traces.items() if arm in hashes}
        runs |= {arm: {**found, **runs.get(arm, {})} for arm, found in shared.items()}
    new = dataclasses.replace(blank, data=data, source=made, entries=entries, traces=runs)
    if old is not None and old.same(new):
        return old
    if old is not None:
        require_one_source(old, made, kept)
    return new


def require_one_source(old: Baseline, made: Origin, kept: Sequence[str]) -> None:
    """Raise `BaselineError` where ``kept`` cells of ``old`` are not of the source ``made``."""
    if not kept or old.source is None or old.source.fits(made):
        return
    facts = {
        "commit": (old.source.commit, made.commit),
        "code": (old.source.code, made.code),
        "machine": (old.source.fingerprint, made.fingerprint),
    }
    differing = "; ".join(f"{what} {a} -> {b}" for what, (a, b) in facts.items() if a != b)
    shown = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
    raise BaselineError(
        f"a baseline is of one machine and one commit, and {len(kept)} recorded cells "
        f"({shown}) would keep numbers of others ({differing}): record all cells at once with "
        "pytest benchmark --update-baseline and the same options, without -k and -m, or go back to "
        "the recorded commit"
    )


def require_fitting(old: Baseline, blank: Baseline, name: str) -> None:
    """Raise `BaselineError` unless ``old`` is of the device and the data of ``blank``."""
    if old.device != blank.device:
        raise BaselineError(
            f"baseline {name} was recorded on {old.device}, and this is {blank.device}: numbers "
            "of different kinds of machine are not compared; give each its own file, or leave "
            "the comparison out with --baseline off"
        )
    for dataset, digest in blank.data.items():
        known = old.data.get(dataset, digest)
        if known != digest:
            raise BaselineError(
                f"baseline {name} was recorded on other data: {dataset} had digest {known}, here "
                f"it has {digest}; restore the data, or delete the baseline and record it anew"
            )


def _recorded_arms(entry: BaselineCell) -> tuple[str, ...]:
    """The hashes of the arms of a recorded cell; its own alone where it is no scenario now."""
    try:
        return tuple(arm.hash for arm in arms_of(Scenario.from_dict(entry.scenario)))
    except (ScenarioError, TypeError):
        return (entry.hash,)


def difference(old: Baseline | None, new: Baseline) -> Iterator[str]:
    """What ``new`` changes, a line for each cell: means before and after."""
    before = old.entries if old is not None else {}
    for name, entry in new.entries.items():
        if name not in before:
            yield f"new      {name}: {_means(entry.values)}"
        elif before[name] != entry:
            yield f"changed  {name}: {_both(before[name], entry)}"
        elif old is not None and any(
            old.traces.get(arm) != new.traces.get(arm) for arm in _recorded_arms(entry)
        ):
            yield f"changed  {name}: bits below the tail values"
    for name in before:
        if name not in new.entries:
            yield f"gone     {name}: {_means(before[name].values)}"


def _both(before: BaselineCell, now: BaselineCell) -> str:
    parts = []
    for metric in dict.fromkeys((*before.values, *now.values)):
        old, new = (_mean(entry.values.get(metric, {})) for entry in (before, now))
        same = before.values.get(metric) == now.values.get(metric)
        parts.append(f"{metric} {old}" + ("" if same else f" -> {new}"))
    if before.scenario != now.scenario:
        parts.append("another scenario")
    seeds = [len(entry.values["clean"]) for entry in (before, now)]
    if seeds[0] != seeds[1]:
        parts.append(f"seeds {seeds[0]} -> {seeds[1]}")
    return ", ".join(parts)


def _means(values: Measured) -> str:
    return ", ".join(f"{metric} {_mean(found)}" for metric, found in values.items())


def _mean(found: Mapping[int, float]) -> str:
    return f"{sum(found.values()) / len(found):.3f}" if found else "-"
