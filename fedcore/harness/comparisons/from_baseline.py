"""The side that a recorded baseline holds: tail values and rounds of every run, and its source."""

from __future__ import annotations

from fedcore.harness.baselines.file import Baseline
from fedcore.harness.comparisons.rounds import note_traces
from fedcore.harness.comparisons.side import FACTS, Known, Side


def side_of_baseline(baseline: Baseline, name: str) -> Side:
    """The session that ``baseline`` recorded; ``name`` is as it was given."""
    side = Side(name, "baseline", data=dict(baseline.data), machine_class=baseline.machine_class)
    side.facts = _facts(baseline)
    for cell, entry in baseline.entries.items():
        for arm, metric in side.add(cell, Known.of(entry.scenario)):
            arm.accuracy |= entry.values.get(metric, {})
            if metric == "poisoned":
                arm.asr |= entry.values.get("asr", {})
            note_traces(arm, baseline.traces.get(arm.known.key, {}))
    return side


def _facts(baseline: Baseline) -> dict[str, str]:
    known = {"class": baseline.machine_class, "device": baseline.device}
    source = baseline.source
    if source is not None:
        changes = " with changes" if source.dirty else ""
        known |= {
            "commit": f"{source.commit}{changes}" if source.commit else "",
            "code": source.code,
            "machine": source.machine,
            "command": source.command,
        }
    return {what: known[what] for what in FACTS if known.get(what)}
