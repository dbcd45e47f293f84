"""Matrices of defences and attacks, a table per partition, from the rows of a session's cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedcore.components.kinds import REFERENCE
from fedcore.harness.reports.horizons import clean_unsettled
from fedcore.harness.reports.matrix_ranks import compare, values_of
from fedcore.harness.reports.rows import Row
from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.ranks import RANK_CONFIDENCE

Table = dict[str, Any]
#: Points of ASR above its clean twin's from which on a backdoor is at work.
BACKDOOR_BITES = 10.0


def matrices(cells: Sequence[Row], noise: Mapping[str, Any] | None) -> list[Table]:
    """A table for each data set and partition that the cells of a matrix are of.

    Keys: dataset, model, partition, rounds, clients, cohort, seeds, confidence; ``attacks`` (label,
    setting, knows, control: of undefended averaging, and whether it ``bites``); ``rows``; and
    ``compared``, the attacks over which worst case and ranks are taken: those of the largest part
    of the matrix without holes. A row has defence, chain, clean, cost (against undefended
    averaging, paired; None and the reason in ``uncosted`` where an arm has not converged), course
    (of the clean arm), ``cells`` by attack, worst, worst_asr, rank, and ``unranked``, the reason
    why it has no rank. Accuracies in percent, differences in points. Cells with errors count as
    missing.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for cell in cells:
        if cell.get("place") and not cell["errors"] and cell["values"]["clean"]:
            scenario = cell["scenario"]
            key = scenario["dataset"], scenario["model"], cell["labels"]["partition"]
            groups.setdefault(key, []).append(cell)
    known = Noise(**noise) if noise else Noise(1.0, 0.0)
    return [_table(members, known) for members in groups.values()]


def _table(cells: Sequence[Row], noise: Noise) -> Table:
    by_place = {(c["place"]["defence"], c["place"]["attack"]): c for c in cells}
    defences = list(dict.fromkeys(defence for defence, _ in by_place))
    labels = [a for a in dict.fromkeys(attack for _, attack in by_place) if a is not None]
    seeds = sorted(set.intersection(*(set(cell["seeds"]) for cell in cells)))
    clean = {d: _clean(d, by_place, labels) for d in defences}
    rows = [
        {
            "defence": defence,
            "chain": next(c["place"]["chain"] for (d, _), c in by_place.items() if d == defence),
            "clean": _spread(values_of(clean[defence], "clean", seeds), noise),
            **_cost(clean[defence], clean.get(REFERENCE), defence, seeds, noise),
            "course": (clean[defence].get("course") or {}).get("clean"),
            "cells": {
                label: _entry(
                    by_place[defence, label], seeds, noise, by_place.get((REFERENCE, label))
                )
                for label in labels
                if (defence, label) in by_place
            },
        }
        for defence in defences
    ]
    compared, complete = without_holes(rows, labels)
    compare(rows, compared, complete, by_place, seeds)
    scenario = cells[0]["scenario"]
    return {
        "dataset": scenario["dataset"],
        "model": scenario["model"],
        "partition": cells[0]["labels"]["partition"],
        "rounds": scenario["rounds"],
        "clients": scenario["num_clients"],
        "declared": cells[0]["place"]["declared"],
        "seeds": seeds,
        "confidence": RANK_CONFIDENCE,
        "attacks": [_attack(label, by_place, noise, seeds) for label in labels],
        "compared": compared,
        "exposure": _exposure(cells),
        "rows": rows,
    }


def _clean(
    defence: str, by_place: Mapping[tuple[str, str | None], Row], labels: Sequence[str]
) -> Row:
    """A cell with the clean accuracies of ``defence``: its own, or one with its clean twin."""
    places = ((defence, label) for label in (None, *labels))
    return next(by_place[place] for place in places if place in by_place)


def _spread(values: Sequence[float], noise: Noise) -> dict[str, Any]:
    """Mean and moderated t interval; without bounds where a single seed gives none."""
    try:
        found = estimate(values, noise)
    except ValueError:
        mean = float(np.mean(values))
        return {"mean": mean, "low": None, "high": None, "values": list(values)}
    return {"mean": found.mean, "low": found.low, "high": found.high, "values": list(values)}


def _cost(
    cell: Row, undefended: Row | None, defence: str, seeds: Sequence[int], noise: Noise
) -> dict[str, Any]:
    """``cost``, and ``uncosted``: why there is none where an arm has not converged."""
    if undefended is None or defence == REFERENCE:
        return {"cost": None, "uncosted": None}
    for name, one in ((defence, cell), (REFERENCE, undefended)):
        reason = clean_unsettled(one)
        if reason is not None:
            return {"cost": None, "uncosted": f"of {name} without attack: {reason}"}
    pairs = zip(values_of(undefended, "clean", seeds), values_of(cell, "clean", seeds), strict=True)
    return {"cost": _spread([one - other for one, other in pairs], noise), "uncosted": None}


def _entry(
    cell: Row, seeds: Sequence[int], noise: Noise, control: Row | None = None
) -> dict[str, Any]:
    """What the table says of one cell; what diverged in its ``control`` is not its own."""
    others = () if control is None or control is cell else control["diverged"]
    entry: dict[str, Any] = {
        "id": cell["id"],
        "poisoned": _spread(values_of(cell, "poisoned", seeds), noise),
        "drop": _spread(values_of(cell, "drop", seeds), noise),
        "asr": None,
        "asr_twin": None,
        "diverged": sum(run not in others for run in cell["diverged"]),
        "course": (cell.get("course") or {}).get("attacked"),
        "exposure": (cell.get("course") or {}).get("exposure"),
    }
    if cell["values"]["asr"]:
        entry["asr"] = _spread(values_of(cell, "asr", seeds), noise)
    if cell["asr_twin"]:
        by_seed = dict(zip(cell["seeds"], cell["asr_twin"], strict=True))
        entry["asr_twin"] = _spread([by_seed[seed] for seed in seeds], noise)
        if entry["asr"]:
            pairs = zip(entry["asr"]["values"], entry["asr_twin"]["values"], strict=True)
            entry["asr_above"] = _spread([a - b for a, b in pairs], noise)
    return entry


def _attack(
    label: str,
    by_place: Mapping[tuple[str, str | None], Row],
    noise: Noise,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """A column: how the attack is set, and what it does to undefended averaging."""
    cell = next(c for (_, attack), c in by_place.items() if attack == label)
    control = by_place.get((REFERENCE, label))
    found: dict[str, Any] = {
        "label": label,
        "setting": cell["place"]["setting"],
        "knows": cell["place"]["knows"],
        "backdoor": bool(cell["asr_twin"]),
        "control": None,
        "bites": None,
    }
    if control is not None:
        found["control"] = control_of(control, noise, seeds)
        found["bites"] = found["control"]["bites"]
    return found


def control_of(cell: Row, noise: Noise, seeds: Sequence[int] | None = None) -> dict[str, Any]:
    """What an attack does in ``cell``, of undefended averaging, and whether it ``bites``."""
    entry = _entry(cell, cell["seeds"] if seeds is None else seeds, noise)
    shown = {name: entry[name] for name in ("poisoned", "drop", "asr", "asr_twin")}
    return {**shown, "bites": bites(entry)}


def bites(entry: Mapping[str, Any]) -> bool:
    """Whether an attack has an effect: the drop's interval is above 0, or the ASR's above its twin.

    The latter by `BACKDOOR_BITES` points. Without an interval the mean must do.
    """
    above = entry.get("asr_above")
    low = entry["drop"]["mean"] if entry["drop"]["low"] is None else entry["drop"]["low"]
    return bool(low > 0 or (above is not None and (above["low"] or 0.0) > BACKDOOR_BITES))


def without_holes(
    rows: Sequence[Table], labels: Sequence[str], fewest: int = 1
) -> tuple[list[str], list[str]]:
    """The attacks and defences of the largest part of the matrix in which no cell is missing.

    Rows with most cells first; of equal parts that with more rows, and none with fewer than
    ``fewest``.
    """
    best: tuple[int, int, list[str], list[str]] = (0, 0, [], [])
    by_count = sorted(rows, key=lambda row: -len(row["cells"]))
    for count in range(fewest, len(by_count) + 1):
        chosen = by_count[:count]
        common = [a for a in labels if all(a in row["cells"] for row in chosen)]
        size = count * len(common)
        if (size, count) > best[:2] and common:
            best = size, count, common, [row["defence"] for row in chosen]
    return best[2], best[3]


def _exposure(cells: Iterable[Row]) -> dict[str, Any] | None:
    """The malicious clients of all attacked cells' rounds together."""
    parts = [(cell.get("course") or {}).get("exposure") for cell in cells]
    known = [part for part in parts if part]
    if not known:
        return None
    rounds = sum(part["rounds"] for part in known)
    return {
        "declared": known[0]["declared"],
        "least": min(part["least"] for part in known),
        "mean": sum(part["mean"] * part["rounds"] for part in known) / rounds,
        "most": max(part["most"] for part in known),
        "rounds": rounds,
        "above": sum(part["above"] for part in known),
    }
