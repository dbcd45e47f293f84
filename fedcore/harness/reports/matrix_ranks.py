"""Worst cases and ranks of the rows of a matrix, of arms that have converged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedcore.harness.reports.horizons import attacked_unsettled
from fedcore.harness.reports.rows import Row
from fedcore.harness.statistics.convergence import Convergence, why_not_compared
from fedcore.harness.statistics.ranks import Rank, Worst, ranks, worst_columns

Table = dict[str, Any]
Places = Mapping[tuple[str, str | None], Row]


def compare(
    rows: Sequence[Table],
    compared: Sequence[str],
    complete: Sequence[str],
    by_place: Places,
    seeds: Sequence[int],
) -> None:
    """Add to each row its worst case, and its rank among the rows that can be ranked.

    A row is ranked if every one of the ``compared`` attacks is measured on it, its clean arm has
    converged, and none of its attacked arms that may be its worst case still rises: one that rises
    above the worst leaves that as it is. Under a single attack each row is ranked whose arm under
    that one does not rise.
    """
    for row in rows:
        row |= {"worst": None, "worst_asr": None, "rank": None, "unranked": None}
        measured = [a for a in compared if a in row["cells"]] or list(row["cells"])
        if measured:
            values = _cube([row["defence"]], measured, by_place, seeds)
            row["worst"] = _worst(worst_columns(values)[0], measured)
        row["worst_asr"] = _worst_asr(row)
        row["unranked"] = _unsettled(row)
        if row["defence"] not in complete:
            row["unranked"] = "not every compared attack is measured"
    settled = [row for row in rows if row["unranked"] is None]
    for row in settled:
        row["unranked"] = _rising_worst(row)
    ranked = [row for row in settled if row["unranked"] is None]
    if len(seeds) > 1:
        _rank(ranked, compared, by_place, seeds, ranked)
        for label in compared:
            chosen = [r for r in settled if not attacked_unsettled(r["cells"][label]["course"])]
            places = [row["cells"][label] for row in chosen]
            _rank(chosen, [label], by_place, seeds, places)
    for row in ranked:
        if row["rank"] is None:
            row["unranked"] = "nothing to rank it against" if len(seeds) > 1 else "a single seed"


def _unsettled(row: Table) -> str | None:
    """Why the clean arm of ``row`` takes no part."""
    course = row["course"]
    reason = why_not_compared(None if course is None else Convergence(course["state"]))
    return reason and f"without attack: {reason}"


def _rising_worst(row: Table) -> str | None:
    """Why a worst case of ``row`` is not settled."""
    for label in row["worst"]["attacks"]:
        reason = attacked_unsettled(row["cells"][label]["course"])
        if reason is not None:
            return f"under {label}: {reason}"
    return None


def _rank(
    chosen: Sequence[Table],
    labels: Sequence[str],
    by_place: Places,
    seeds: Sequence[int],
    places: Sequence[Table],
) -> None:
    """Put the ranks of the ``chosen`` rows over the attacks ``labels`` into ``places``."""
    if len(chosen) < 2:
        return
    values = _cube([row["defence"] for row in chosen], labels, by_place, seeds)
    for place, rank in zip(places, ranks(values), strict=True):
        place["rank"] = _plain(rank)


def values_of(cell: Row, metric: str, seeds: Sequence[int]) -> list[float]:
    """The values of ``metric`` in ``cell`` on ``seeds``."""
    by_seed = dict(zip(cell["seeds"], cell["values"][metric], strict=True))
    return [by_seed[seed] for seed in seeds]


def _cube(
    defences: Sequence[str], labels: Sequence[str], by_place: Places, seeds: Sequence[int]
) -> Any:
    """Poisoned accuracies, [seeds, defences, attacks]."""
    values = [[values_of(by_place[d, a], "poisoned", seeds) for a in labels] for d in defences]
    return np.moveaxis(np.array(values), 2, 0)


def _worst(found: Worst, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "attacks": [labels[column] for column in found.columns],
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "of": len(labels),
    }


def _worst_asr(row: Table) -> dict[str, Any] | None:
    """The backdoor that is farthest above its clean twin."""
    above = {label: e["asr_above"] for label, e in row["cells"].items() if e.get("asr_above")}
    if not above:
        return None
    values = np.array([found["values"] for found in above.values()]).T[:, None, :]
    found = _worst(worst_columns(-values)[0], list(above))
    low, high = found["low"], found["high"]
    return {
        **found,
        "mean": -found["mean"],
        "low": None if high is None else -high,
        "high": None if low is None else -low,
    }


def _plain(rank: Rank) -> dict[str, int]:
    return dataclasses.asdict(rank)
