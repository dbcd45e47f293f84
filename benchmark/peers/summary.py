"""Medians and ratios of the runs so far, as numbers and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .systems import REFERENCE

STEPS = 800  # of W1: 10 rounds of 10 clients with 8 batches each
STEADY = slice(2, 10)  # rounds 3 to 10
MEGABYTE = 1e6

Run = Mapping[str, Any]


def steady(run: Run) -> float:
    """Median seconds of rounds 3 to 10."""
    return statistics.median(run["rounds"][STEADY])


def summarise(repeats: Sequence[Mapping[str, Run]]) -> dict[str, dict[str, Any]]:
    """By system: medians, and medians of the ratios to the bare loop of the same repeat.

    Runs that failed count in ``failed`` only; ``error`` is the last one's. ``equal``: whether all
    runs, of one seed, ended in the same model; None with fewer than two.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for repeat in repeats for name in repeat):
        runs = [(repeat[name], repeat.get(REFERENCE)) for repeat in repeats if name in repeat]
        errors = [run["error"] for run, _ in runs if run["error"] is not None]
        good = [(run, bare) for run, bare in runs if run["error"] is None]
        row: dict[str, Any] = {"runs": len(good), "failed": len(errors)}
        if errors:
            row["error"] = errors[-1]
        if good:
            row |= _medians([run for run, _ in good])
            pairs = [(run, bare) for run, bare in good if bare and bare["error"] is None]
            if pairs:
                row["round_ratio"] = statistics.median(steady(r) / steady(b) for r, b in pairs)
                row["total_ratio"] = statistics.median(r["total"] / b["total"] for r, b in pairs)
        found[name] = row
    return found


def _medians(runs: Sequence[Run]) -> dict[str, Any]:
    digests = {run["digest"] for run in runs}
    return {
        "round": statistics.median(map(steady, runs)),
        "total": statistics.median(run["total"] for run in runs),
        "memory": statistics.median(run["memory"] for run in runs),
        "steps": sorted({run["steps"] for run in runs}),
        "equal": len(digests) == 1 if len(runs) > 1 else None,
    }


def table(rows: Mapping[str, Mapping[str, Any]], legend: Mapping[str, str]) -> str:
    """Markdown: a line per system, then what failed and what did other work than W1."""
    head = ["system", "s / round", "x bare", "total s", "x bare", "memory MB", "seeded runs equal"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    notes = []
    for name, row in rows.items():
        title = f"{name}: {legend[name]}" if name in legend else name
        if row["runs"]:
            equal = {True: "yes", False: "no", None: "-"}[row["equal"]]
            cells = [
                f"{row['round']:.3f}",
                _ratio(row, "round_ratio"),
                f"{row['total']:.2f}",
                _ratio(row, "total_ratio"),
                f"{row['memory'] / MEGABYTE:,.0f}",
                f"{equal} ({row['runs']})",
            ]
            if row["steps"] != [STEPS]:
                notes.append(f"{name} took {row['steps']} training steps, W1 has {STEPS}")
        else:
            cells = ["-"] * 6
        if row["failed"]:
            count = f"{row['failed']} of {row['runs'] + row['failed']} runs"
            notes.append(f"{name}: {count} failed: {row['error']}")
        lines.append(f"| {' | '.join([title, *cells])} |")
    return "\n".join([*lines, "", *notes]).rstrip()


def _ratio(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]:.2f}" if key in row else "-"
