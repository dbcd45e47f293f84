"""The small tables below the cells: each strategy over all its cells, and costs with no attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.harness.reports import clients
from fedcore.harness.reports.horizons import horizons, left_out_text
from fedcore.harness.reports.overall import same_cells

Line = Mapping[str, Any]
Columns = dict[str, list[str | None]]

TITLES = {"overall": "over all attacked cells", "costs": "with no attacker"}
#: What is left out of each where an arm has not converged.
_KINDS = {"overall": "cell", "costs": "cost"}


def overall_columns(lines: Sequence[Line]) -> Columns:
    """``lines`` of `fedcore.harness.reports.overall.overall` by column."""
    return {
        "strategy": [line["strategy"] for line in lines],
        "note": [line["note"].replace("-", " ") or None for line in lines],
        "clean": [f"{line['clean']['mean']:.1f}" for line in lines],
        "poisoned": [f"{line['poisoned']['mean']:.1f}" for line in lines],
        "drop": [_span(line["drop"]["mean"], line["drop"]) for line in lines],
        "cells": [str(len(line["cells"])) for line in lines],
        "n": [str(len(line["seeds"])) for line in lines],
    }


def overall_legend(lines: Sequence[Line]) -> str:
    """What the columns mean; says where the strategies are not over the same cells."""
    methods = dict.fromkeys(line["drop"]["method"] for line in lines)
    ways = {
        "bootstrap": "bootstrap of whole seed blocks",
        "t": "Student's t over seed blocks (fewer than 6 seeds)",
    }
    how = " or ".join(ways[name] for name in methods if name in ways)
    level = lines[0]["drop"]["confidence"]
    text = (
        "clean, poisoned: mean over converged cells that share all but partition and attack"
        f"{_at([line['setting']['rounds'] for line in lines if line.get('setting')])}, %. drop: "
        "percentage points"
    )
    text += f" [{100 * level:.3g} % interval, {how}]." if how else "."
    if not same_cells(lines):
        text += " The strategies' cells are not the same ones: compare them cell by cell."
    return text


def cost_columns(lines: Sequence[Line]) -> Columns:
    """``lines`` of `reports.costs.cost_rows` by column, one row for each clean arm."""
    arms: dict[str, dict[str, Line]] = {}
    for line in lines:
        arms.setdefault(line["hash"], {})[line["kind"]] = line
    first = [next(iter(kinds.values())) for kinds in arms.values()]
    found: Columns = {
        "strategy": [line["strategy"] for line in first],
        "partition": [line["partition"] for line in first],
        "note": [line["note"].replace("-", " ") or None for line in first],
        "clean": [f"{line['clean']:.1f}" for line in first],
    }
    for kind in ("defence", "heterogeneity"):
        found[kind] = [
            _span(kinds[kind]["effect"], kinds[kind]) if kind in kinds else None
            for kinds in arms.values()
        ]
    counts = [sorted({len(line["seeds"]) for line in kinds.values()}) for kinds in arms.values()]
    found["n"] = ["/".join(map(str, count)) for count in counts]
    return found


def cost_legend(lines: Sequence[Line]) -> str:
    """What the columns mean."""
    level = next((line["confidence"] for line in lines if line["confidence"] is not None), None)
    interval = "" if level is None else f" [{100 * level:.3g} % interval]"
    return (
        "clean: tail accuracy without attack"
        f"{_at([line['rounds'] for line in lines if 'rounds' in line])}, %, of arms that have "
        "converged there. defence: what the strategy costs against "
        "undefended FedAvg, same partition; heterogeneity: what the partition costs against IID, "
        f"same strategy; percentage points, paired over n seeds{interval}."
    )


def tables(document: Mapping[str, Any]) -> list[tuple[str, Columns, str]]:
    """(title, columns, legend) of the small tables that ``document`` has lines for.

    Empty columns are left out. Where every line would be of arms that have not converged there are
    no columns, and the legend says so.
    """
    makers = {"overall": (overall_columns, overall_legend), "costs": (cost_columns, cost_legend)}
    found: list[tuple[str, Columns, str]] = []
    for name, (columns, legend) in makers.items():
        lines = document.get(name) or []
        left = left_out_text((document.get("left_out") or {}).get(name) or [], _KINDS[name])
        if lines:
            shown = {k: values for k, values in columns(lines).items() if any(values)}
            found.append((TITLES[name], shown, " ".join(filter(None, (legend(lines), left)))))
        elif left:
            found.append((TITLES[name], {}, left))
    detected = clients.table(document.get("cells") or [])
    return found if detected is None else [*found, detected]


def _at(rounds: Sequence[int]) -> str:
    """`` at 40 rounds``; nothing for lines of a file that does not say."""
    return f" {horizons(rounds)}" if rounds else ""


def _span(mean: float, interval: Line) -> str:
    """``4.2 [1.0, 7.5]``; the mean alone where there is no interval."""
    if interval["low"] is None:
        return number(mean)
    return f"{number(mean)} [{number(interval['low'])}, {number(interval['high'])}]"


def number(value: float, digits: int = 1) -> str:
    """``value`` with this many digits after the point; never a zero with a sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
