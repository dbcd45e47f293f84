"""The matrices of defences and attacks as text: for the terminal, and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fedcore.harness.reports.horizons import course_mark
from fedcore.harness.reports.matrix import Table
from fedcore.harness.reports.matrix_legend import heading, interval, legend
from fedcore.harness.reports.narrow import NARROW, WIDTH
from fedcore.harness.reports.summaries import Columns, number

#: Behind the name of an attack whose attackers see the benign updates.
OMNISCIENT = "*"


def terminal_matrices(tables: Sequence[Table]) -> str:
    """All ``tables``, at most 100 columns wide."""
    return "\n\n".join(_terminal(table) for table in tables)


def markdown_matrices(tables: Sequence[Table]) -> str:
    """All ``tables`` with a heading each, complete: intervals, drops and success rates."""
    parts: list[str] = []
    for table in tables:
        parts.append(f"### {heading(table)}")
        parts.append(_tabulated(_full_columns(table), "github"))
        door = _doors(table)
        if door:
            parts.append("Attack success rate, % (that of the clean twin on the same probe set):")
            parts.append(_tabulated(door, "github"))
        parts.append("\n".join(f"- {line}" for line in legend(table)))
    return "\n\n".join(parts)


def _title(attack: Mapping[str, Any]) -> str:
    return f"{attack['label']}{OMNISCIENT if attack['knows'] == 'omniscient' else ''}"


def _terminal(table: Table) -> str:
    parts = [f"defences x attacks, {heading(table)}", "tail accuracy, %:"]
    parts += _blocks(_columns(table))
    drops = _filled(_drops(table))
    parts += ["", "drop against the clean twin, percentage points:", *_blocks(drops)]
    door = _doors(table)
    if door:
        parts += ["", "attack success rate, % (clean twin's on the same probe set):"]
        parts += _blocks(door)
    parts.append("")
    for line in legend(table):
        parts += textwrap.wrap(line, WIDTH, break_on_hyphens=False)
    return "\n".join(parts)


def _head(table: Table) -> Columns:
    rows = table["rows"]
    return {
        "defence": [row["defence"] for row in rows],
        "clean": [number(row["clean"]["mean"]) + course_mark(row["course"]) for row in rows],
        "cost": [row["cost"] and number(row["cost"]["mean"]) for row in rows],
    }


def _ranks(table: Table) -> list[str | None]:
    return [rank_text(row["rank"]) for row in table["rows"]]


def rank_text(rank: Mapping[str, int] | None) -> str | None:
    """``2``, or ``1-3`` for ranks that cannot be told apart; None without one."""
    if rank is None:
        return None
    best, worst = rank["best"], rank["worst"]
    return str(best) if best == worst else f"{best}-{worst}"


def _columns(table: Table) -> Columns:
    shown = _head(table)
    for attack in table["attacks"]:
        cells = [row["cells"].get(attack["label"]) for row in table["rows"]]
        shown[_title(attack)] = [
            c and number(c["poisoned"]["mean"]) + course_mark(c["course"]) for c in cells
        ]
    shown["worst"] = [_worst(row["worst"]) for row in table["rows"]]
    shown["rank"] = _ranks(table)
    return shown


def _worst(worst: Mapping[str, Any] | None) -> str | None:
    if worst is None:
        return None
    more = "" if len(worst["attacks"]) == 1 else f" or {len(worst['attacks']) - 1} more"
    return f"{interval(worst)} {worst['attacks'][0]}{more}"


def _drops(table: Table) -> Columns:
    shown: Columns = {"defence": [row["defence"] for row in table["rows"]]}
    for attack in table["attacks"]:
        cells = [row["cells"].get(attack["label"]) for row in table["rows"]]
        shown[_title(attack)] = [c and number(c["drop"]["mean"]) for c in cells]
    return shown


def _doors(table: Table) -> Columns:
    """Success rates of the backdoors; empty without one."""
    attacks = [attack for attack in table["attacks"] if attack["backdoor"]]
    if not attacks:
        return {}
    shown: Columns = {"defence": [row["defence"] for row in table["rows"]]}
    for attack in attacks:
        cells = [row["cells"].get(attack["label"]) for row in table["rows"]]
        shown[_title(attack)] = [c and _rate(c) for c in cells]
    shown["worst above twin"] = [_worst(row["worst_asr"]) for row in table["rows"]]
    return _filled(shown)


def _filled(shown: Columns) -> Columns:
    """The lines of ``shown`` that say anything beside the defence's name."""
    names = list(shown)
    kept = [i for i, _ in enumerate(shown[names[0]]) if any(shown[n][i] for n in names[1:])]
    return {name: [values[i] for i in kept] for name, values in shown.items()}


def _rate(cell: Mapping[str, Any]) -> str | None:
    if cell["asr"] is None:
        return None
    twin = cell["asr_twin"]
    text = number(cell["asr"]["mean"])
    return text if twin is None else f"{text} ({number(twin['mean'])})"


def _full_columns(table: Table) -> Columns:
    """The table with every interval: ``78.3 [75.0, 81.6] (14.2)``, the drop in parentheses."""
    shown = _head(table)
    shown["clean"] = [interval(row["clean"]) + course_mark(row["course"]) for row in table["rows"]]
    shown["cost"] = [row["cost"] and interval(row["cost"]) for row in table["rows"]]
    for attack in table["attacks"]:
        cells = [row["cells"].get(attack["label"]) for row in table["rows"]]
        shown[_title(attack).replace("*", r"\*")] = [
            c
            and f"{interval(c['poisoned'])}{course_mark(c['course'])} ({number(c['drop']['mean'])})"
            for c in cells
        ]
    shown["worst"] = [
        row["worst"] and f"**{interval(row['worst'])}** {', '.join(row['worst']['attacks'])}"
        for row in table["rows"]
    ]
    shown["rank"] = _ranks(table)
    return shown


def _blocks(shown: Columns) -> list[str]:
    """The columns drawn within the width: those that do not fit follow below, with the names."""
    names = list(shown)
    lines: list[str] = []
    block = names[:1]
    for name in [*names[1:], None]:
        if name is not None and _width([*block, name], shown) <= WIDTH:
            block.append(name)
            continue
        lines += ["", *_draw(block, shown)] if lines else _draw(block, shown)
        if name is not None:
            block = [names[0], name]
    return lines


def _width(names: Sequence[str], shown: Columns) -> int:
    widths = [max(len(value or "-") for value in (name, *shown[name])) for name in names]
    return sum(widths) + len(widths) - 1


def _draw(names: Sequence[str], shown: Columns) -> list[str]:
    text = tabulate(
        {name: [name, *shown[name]] for name in names},
        tablefmt=NARROW,
        disable_numparse=True,
        missingval="-",
        colalign=["left" if name in ("defence", "worst") else "right" for name in names],
    )
    return [line.rstrip() for line in text.splitlines()]


def _tabulated(shown: Columns, style: str) -> str:
    return str(
        tabulate(shown, headers="keys", tablefmt=style, disable_numparse=True, missingval="-")
    )
