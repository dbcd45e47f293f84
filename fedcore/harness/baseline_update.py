"""Recording a baseline: what would change in the file, and the new file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fedcore.harness.baseline import measured, sound
from fedcore.harness.baseline_coverage import Coverage
from fedcore.harness.baseline_file import (
    SCHEMA,
    Baseline,
    BaselineError,
    Entry,
    Measured,
    Source,
)
from fedcore.harness.stamp import stamp
from fedcore.provenance import machine

if TYPE_CHECKING:
    from fedcore.harness.outcome import Outcome


def source(fingerprint: str, command: str) -> Source:
    """What makes numbers here and now."""
    head = stamp(SCHEMA, command)
    made = {name: head[name] for name in ("date", "commit", "dirty", "code")}
    return Source(**made, fingerprint=fingerprint, machine=machine(), command=head["repeat"])


def updated(
    old: Baseline | None,
    blank: Baseline,
    outcomes: Mapping[str, Outcome],
    coverage: Coverage,
    made: Source,
) -> Baseline:
    """``old`` with ``outcomes`` in it; ``blank`` says for what suite, device and data it is.

    Cells that were not selected or have no values keep what is recorded, and so do cells that
    would not change; cells that are gone leave where all cells are selected.
    """
    entries = dict(old.entries) if old is not None else {}
    if coverage.complete:
        entries = {n: e for n, e in entries.items() if not coverage.gone(n, e.test)}
    for name, outcome in outcomes.items():
        if not sound(outcome):
            continue
        scenario = outcome.cell.scenario
        entry = Entry(
            coverage.tests[name], scenario.hash, scenario.to_dict(), measured(outcome), made
        )
        if name not in entries or not entries[name].same(entry):
            entries[name] = entry
    data = {**(old.data if old is not None else {}), **blank.data}
    return Baseline(blank.dataset, blank.profile, blank.device, data, entries)


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


def difference(old: Baseline | None, new: Baseline) -> Iterator[str]:
    """What ``new`` changes, a line for each cell: means before and after."""
    before = old.entries if old is not None else {}
    for name, entry in new.entries.items():
        if name not in before:
            yield f"new      {name}: {_means(entry.values)}"
        elif before[name] is not entry:
            yield f"changed  {name}: {_both(before[name], entry)}"
    for name in before:
        if name not in new.entries:
            yield f"gone     {name}: {_means(before[name].values)}"


def _both(before: Entry, now: Entry) -> str:
    parts = []
    for metric in dict.fromkeys((*before.values, *now.values)):
        old, new = (_mean(entry.values.get(metric, {})) for entry in (before, now))
        same = before.values.get(metric) == now.values.get(metric)
        parts.append(f"{metric} {old}" + ("" if same else f" -> {new}"))
    if before.scenario != now.scenario:
        parts.append("another scenario")
    if before.source.fingerprint != now.source.fingerprint:
        parts.append("another machine or version")
    seeds = [len(entry.values["clean"]) for entry in (before, now)]
    if seeds[0] != seeds[1]:
        parts.append(f"seeds {seeds[0]} -> {seeds[1]}")
    return ", ".join(parts)


def _means(values: Measured) -> str:
    return ", ".join(f"{metric} {_mean(found)}" for metric, found in values.items())


def _mean(found: Mapping[int, float]) -> str:
    return f"{sum(found.values()) / len(found):.3f}" if found else "-"
