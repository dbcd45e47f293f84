"""The table of a suite: on the terminal at most 100 columns wide, elsewhere complete."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fedcore.data.dataset import class_label
from fedcore.harness.reports import rows
from fedcore.harness.reports.horizons import at_rounds, mark, marks_line
from fedcore.harness.reports.matrix_text import terminal_matrices
from fedcore.harness.reports.metrics import beyond
from fedcore.harness.reports.metrics_table import beyond_text
from fedcore.harness.reports.narrow import NARROW
from fedcore.harness.reports.narrow import WIDTH as WIDTH
from fedcore.harness.reports.rows import Row
from fedcore.harness.reports.summaries import Columns, number, tables

VERDICTS = ("pass", "measured", "FAIL", "unsure", "VOID", "ERROR", "no limit")

#: Before the limit of a gate that is not on the cell's own drop or clean accuracy.
_PREFIX = {
    "asr": "asr",
    "control": "ctl",
    "control_asr": "ctlasr",
    "skill": "skill",
    "twin_skill": "skill",
}
_LEFT = ("strategy", "partition", "attack", "verdict", "note")
# Given up in this order where a table would be too wide; the report files have them all.
_SPARE = ("worst", "ret", "limit", "n")


def terminal_document(document: Mapping[str, Any]) -> str:
    """The cells of results.json, and below them the small tables that it has lines for.

    Cells of a matrix of defences are in that (`matrix_text`), and only counted here.
    """
    cells = document["cells"]
    alone = [cell for cell in cells if not cell.get("place")]
    parts = [terminal_table(alone)] if alone or not cells else []
    if len(alone) < len(cells):
        parts.append(terminal_matrices(document["matrices"]))
        parts.append(count_line([cell for cell in cells if cell.get("place")]))
    for title, shown, legend in tables(document):
        lines = [f"{title}:", *(_draw(shown) if shown else ()), *_wrap(legend)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def terminal_table(cells: Sequence[Row]) -> str:
    """Table, explanation and count of verdicts, as printed after the tests.

    Cells whose id has further tokens (another model, ...) come under a heading that names these.
    """
    if not cells:
        return "no cells"
    notes = list(dict.fromkeys(["", *(cell["labels"]["note"] for cell in cells)]))
    ordered = [cell for note in notes for cell in cells if cell["labels"]["note"] == note]
    table = columns(ordered)
    lines = _draw(table)
    for name in _SPARE:
        if name in table and max(map(len, lines)) > WIDTH:
            table.pop(name)
            lines = _draw(table)
    shown, last = lines[:2], ""
    for cell, line in zip(ordered, lines[2:], strict=True):
        note = cell["labels"]["note"]
        if note != last:
            shown += _wrap(f"with {' '.join(note.split('-'))}:")
            last = note
        shown.append(line)
    return "\n".join([*shown, "", *footer(ordered, table), count_line(ordered)])


def columns(cells: Sequence[Row]) -> Columns:
    """The table by column, None for what is missing; ASR only where some cell has one."""
    variants = _variants(cells)
    table: Columns = {
        "strategy": [cell["labels"]["strategy"] for cell in cells],
        "partition": [cell["labels"]["partition"] for cell in cells],
        "attack": [_attack(cell, variants) for cell in cells],
        "mal/poi": [_shares(cell) for cell in cells],
        "clean": [marked(_number(rows.mean(cell, "clean")), cell, "clean") for cell in cells],
        "poisoned": [marked(_with_interval(cell, "poisoned"), cell, "attacked") for cell in cells],
        "drop": [_number(rows.mean(cell, "drop")) for cell in cells],
        "ret": [_number(cell["retention"], 2) for cell in cells],
        "worst": [_number(rows.mean(cell, "worst_recall")) for cell in cells],
        "ASR": [_success(cell) for cell in cells],
        "published": [_number((cell.get("published") or {}).get("value")) for cell in cells],
        "n": [str(len(cell["seeds"])) for cell in cells],
        "limit": [_limit(cell) for cell in cells],
        "verdict": [cell["verdict"] for cell in cells],
    }
    for name in ("ASR", "published", "worst"):
        if not any(table[name]):
            table.pop(name)
    return table


def alignment(table: Columns) -> list[str]:
    """The ``colalign`` of tabulate: names to the left, numbers to the right."""
    return ["left" if name in _LEFT else "right" for name in table]


def footer(cells: Sequence[Row], shown: Container[str] = ("worst",)) -> list[str]:
    """What the columns ``shown`` mean, which classes an attack has, which runs diverged."""
    level = rows.confidence(cells)
    interval = f"; +- half the {100 * level:.3g} % interval" if level is not None else ""
    lines = _wrap(
        "mal/poi: malicious clients / poisoned share of their samples, %. clean, poisoned: tail "
        f"accuracy {at_rounds(cells)}, %, mean of n seeds{interval}. drop: percentage points. ret: "
        "poisoned / clean."
    )
    if "worst" in shown and any(cell["estimates"].get("worst_recall") for cell in cells):
        lines += _wrap("worst: recall of the class that is served worst, %, of the attacked arm.")
    lines += _wrap(beyond_text(cells) or "")
    lines += _wrap(marks_line(cells) or "")
    if any(cell.get("published") for cell in cells):
        lines += _wrap(
            "published: the accuracy that the study printed for the cell, clean or poisoned. "
            "no limit: shown beside it, not judged against it (report.md says why)."
        )
    if any(cell.get("asr_twin") for cell in cells):
        lines += _wrap(
            "ASR: attack success rate, %, on the probe set of the attack; in parentheses that of "
            "the clean twin on the same set."
        )
    for attack, variants in _variants(cells).items():
        named = _named_pairs(cells, attack)
        if len(variants) == 1 and attack not in variants and not named:
            classes = min(variants).removeprefix(attack)
            what = {"to": "source to target class", "": "target class"}
            # another rest, such as a digest, is part of the name and no class
            if form := re.fullmatch(r"\d+(?:(to)\d+)?", classes):
                lines.append(f"{attack}: {classes} ({what[form[1] or '']})")
        lines += [line for pair in named for line in _wrap(f"{attack}: {pair}, source to target")]
    for reason, ids in _by_reason(cells).items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        lines += _wrap(f"VOID {ids[0]}{more}: {reason}")
    diverged = list(dict.fromkeys(run for cell in cells for run in cell["diverged"]))
    if diverged:
        more = f" and {len(diverged) - 5} more" if len(diverged) > 5 else ""
        lines += _wrap(f"diverged, counted at chance: {'; '.join(diverged[:5])}{more}")
    notes = list(dict.fromkeys(note for cell in cells for note in cell.get("notes", ())))
    if notes:
        more = f" (and {len(notes) - 3} more runs)" if len(notes) > 3 else ""
        lines += _wrap(f"noted: {'; '.join(notes[:3])}{more}")
    blind = [cell for cell in cells if cell.get("unproven")]
    if blind:
        lines += _wrap(
            f"not proven: of {len(blind)} cell(s) nobody noted what was trained on, such as "
            f"{blind[0]['unproven'][0]}"
        )
    return lines + data_lines(cells)


def data_lines(cells: Sequence[Row]) -> list[str]:
    """What a reader must know of each data set, wrapped: such as files that were skipped."""
    several = len({cell["scenario"].get("dataset") for cell in cells}) > 1
    notes = dict.fromkeys(
        f"data{', ' + str(cell['scenario'].get('dataset')) if several else ''}: {note}"
        for cell in cells
        for note in cell.get("data_notes", ())
    )
    return [line for note in notes for line in _wrap(note)]


def _by_reason(cells: Sequence[Row]) -> dict[str, list[str]]:
    """The ids of the void cells by the reason why nothing is proven."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for reason in cell.get("voids", ()):
            found.setdefault(reason, []).append(cell["id"])
    return found


def count_line(cells: Sequence[Row]) -> str:
    """``12 cells: 10 pass, 2 FAIL``."""
    found = Counter(cell["verdict"] for cell in cells)
    counts = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])
    return f"{len(cells)} cell{'' if len(cells) == 1 else 's'}: {counts or 'none'}"


def _draw(table: Columns) -> list[str]:
    text = tabulate(
        {name: [name, *values] for name, values in table.items()},
        tablefmt=NARROW,
        disable_numparse=True,
        missingval="-",
        colalign=alignment(table),
    )
    header, *body = [line.rstrip() for line in text.splitlines()]
    widths = [max(len(v or "-") for v in (name, *values)) for name, values in table.items()]
    return [header, " ".join("-" * width for width in widths), *body]


def _variants(cells: Sequence[Row]) -> dict[str, set[str]]:
    """The variants of each attack: ``targetedflip0to8`` where it has classes, else its name."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        names = cell["labels"]
        if names["variant"]:
            found.setdefault(names["attack"], set()).add(names["variant"])
    return found


def _named_pairs(cells: Sequence[Row], attack: str) -> list[str]:
    """``1 (trouser) to 7 (sneaker)`` for each pair of classes of ``attack`` that has names."""
    pairs: dict[str, None] = {}
    for cell in cells:
        names, scenario = cell.get("class_names", ()), cell["scenario"]
        numbers = scenario.get("source_class"), scenario.get("target_class")
        if cell["labels"]["attack"] == attack and None not in numbers:
            source, target = (class_label(number, names) for number in numbers)
            if (source, target) != (str(numbers[0]), str(numbers[1])):
                pairs[f"{source} to {target}"] = None
    return list(pairs)


def _attack(cell: Row, variants: dict[str, set[str]]) -> str:
    """The attack's name; with its classes only where the table has it with several pairs."""
    names = cell["labels"]
    several = len(variants.get(names["attack"], ())) > 1
    name = names["variant"] if several else names["attack"]
    return f"{name} {names['redraw']}" if names["redraw"] else str(name)


def _shares(cell: Row) -> str | None:
    names = cell["labels"]
    if names["malicious"] is None:
        return None
    mark = "!" if beyond(cell) else ""
    return f"{names['malicious']}/{'-' if names['poison'] is None else names['poison']}{mark}"


def _success(cell: Row) -> str | None:
    """``94.1``, or ``94.1 (1.2)`` with the clean twin's rate where that is measured."""
    text, twin = _number(rows.mean(cell, "asr")), cell.get("asr_twin")
    return text if text is None or not twin else f"{text} ({_number(math.fsum(twin) / len(twin))})"


def _number(value: float | None, digits: int = 1) -> str | None:
    return None if value is None else number(value, digits)


def marked(text: str | None, cell: Row, arm: str) -> str | None:
    """``text`` with the mark of an ``arm`` that has not been shown to have converged."""
    return text and text + mark(cell, arm)


def _with_interval(cell: Row, metric: str) -> str | None:
    average, reach = _number(rows.mean(cell, metric)), rows.half_width(cell, metric)
    return average if average is None or reach is None else f"{average}+-{reach:.1f}"


def _limit(cell: Row) -> str | None:
    """The limit that decided, with its metric where that is not the cell's own."""
    gate = rows.deciding_gate(cell)
    if gate is None:
        return None
    return f"{_PREFIX.get(gate['metric'], '')}{gate['limit']}"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)
