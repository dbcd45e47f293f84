"""Report documents: CSV, Markdown, HTML and LaTeX from the content of results.json."""

from __future__ import annotations

import base64
import csv
import html
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fedcore.harness.reports import clients, metrics, metrics_table, privacy, table
from fedcore.harness.reports.curves import flat as curves_flat
from fedcore.harness.reports.explain import explain_row
from fedcore.harness.reports.learning import LINES, learning_table
from fedcore.harness.reports.matrix_text import markdown_matrices
from fedcore.harness.reports.provenance import facts
from fedcore.harness.reports.rows import MEASURED, Row, deciding_gate
from fedcore.harness.reports.sections import Section
from fedcore.harness.reports.summaries import Columns, tables

#: Verdicts of cells of which nothing has to be explained.
HOLDING = ("pass", "measured")
TITLE = "Robustness of federated learning under data poisoning"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; white-space: nowrap; }
thead th { border-bottom: 2px solid #555; }
pre { background: #f5f5f5; padding: 1em; overflow-x: auto; }
img { max-width: 100%; }
.pass { color: #176f2c; } .FAIL, .ERROR { color: #b00020; font-weight: bold; }
.VOID, .unsure { color: #8a5a00; font-weight: bold; }
"""


def to_csv(document: Mapping[str, Any]) -> str:
    """One flat row per cell at full precision; then the fields of the scenario by their names."""
    costs = document.get("costs") or []
    flat = [
        _flat(cell, [c for c in costs if c["hash"] == cell.get("twin")])
        for cell in document["cells"]
    ]
    names = list(dict.fromkeys(name for one in flat for name in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def to_markdown(
    document: Mapping[str, Any],
    figure: str | None,
    notes: Sequence[str],
    surface: str | None = None,
    curves: str | None = None,
    sections: Sequence[Section] = (),
) -> str:
    """Table, what did not hold and why, thresholds, provenance and how to repeat it.

    ``figure``, ``surface`` and ``curves`` are the paths of the figures of drops, of privacy and of
    learning.
    """
    cells = document["cells"]
    parts = [f"# {TITLE}", table.count_line(cells), _table(cells, "github")]
    parts += ["\n".join(table.footer(cells))]
    for title, shown, legend in tables(document):
        parts += [f"## {title.capitalize()}", *_drawn(shown, "github"), legend]
    if document.get("matrices"):
        parts += ["## Defences against attacks", markdown_matrices(document["matrices"])]
    if figure is not None:
        parts.append(f"![Drop by cell]({figure})")
    for title, shown, legend in _wide(cells):
        parts += [f"## {title.capitalize()}", _tabulated(shown, "github"), legend]
    if curves is not None:
        parts.append(f"![Accuracy by round]({curves})\n\n{LINES}")
    private = privacy.table(cells, privacy.noise_of(document))
    if private:
        parts += ["## Privacy, utility and robustness", f"```text\n{private}\n```"]
    if surface is not None:
        parts.append(f"![Accuracy and drop by epsilon]({surface})")
    for section in sections:
        parts += [f"## {section.heading}", *_drawn(section.columns, "github"), section.legend]
        if section.figure is not None:
            parts.append(f"![{section.heading}]({section.path})")
    failing = [cell for cell in cells if cell["verdict"] not in HOLDING]
    if failing:
        parts.append("## What does not hold")
    for cell in failing:
        parts += [f"### {cell['id']}", f"```text\n{explain_row(cell, document['repeat'])}\n```"]
    limits = _thresholds(cells)
    if limits:
        listed = "\n".join(f"- `{name}` {limit}: {why}" for name, (limit, why) in limits.items())
        parts += ["## Thresholds", listed]
    parts += ["## How to repeat", f"```console\n$ {document['repeat']}\n```"]
    parts += ["## Where the numbers come from", _bullets(document, notes)]
    return "\n\n".join(parts) + "\n"


def to_html(
    document: Mapping[str, Any],
    figure: bytes | None,
    notes: Sequence[str],
    surface: bytes | None = None,
    curves: bytes | None = None,
    sections: Sequence[Section] = (),
) -> str:
    """One page that needs no other file: the style and the figures are inside."""
    cells = document["cells"]
    escape = html.escape
    parts = [
        f"<h1>{TITLE}</h1>",
        f"<p>{escape(table.count_line(cells))}</p>",
        _html_table(cells),
        f"<p>{escape(' '.join(table.footer(cells)))}</p>",
    ]
    for title, shown, legend in tables(document):
        parts += [
            f"<h2>{escape(title.capitalize())}</h2>",
            *_drawn(_escaped(shown), "unsafehtml"),
            f"<p>{escape(legend)}</p>",
        ]
    if figure is not None:
        parts.append(_image("Drop by cell", figure))
    for title, shown, legend in _wide(cells):
        parts += [
            f"<h2>{escape(title.capitalize())}</h2>",
            _tabulated(_escaped(shown), "unsafehtml"),
            f"<p>{escape(legend)}</p>",
        ]
    if curves is not None:
        parts += [_image("Accuracy by round", curves), f"<p>{escape(LINES)}</p>"]
    private = privacy.table(cells, privacy.noise_of(document))
    if private:
        parts += ["<h2>Privacy, utility and robustness</h2>", f"<pre>{escape(private)}</pre>"]
    if surface is not None:
        parts.append(_image("Accuracy and drop by epsilon", surface))
    for section in sections:
        parts += [
            f"<h2>{escape(section.heading)}</h2>",
            *_drawn(_escaped(section.columns), "unsafehtml"),
            f"<p>{escape(section.legend)}</p>",
        ]
        if section.figure is not None:
            parts.append(_image(section.heading, section.figure))
    failing = [cell for cell in cells if cell["verdict"] not in HOLDING]
    if failing:
        parts.append("<h2>What does not hold</h2>")
    parts += [f"<pre>{escape(explain_row(cell, document['repeat']))}</pre>" for cell in failing]
    limits = _thresholds(cells)
    if limits:
        items = "".join(
            f"<li><code>{escape(name)}</code> {escape(limit)}: {escape(why)}</li>"
            for name, (limit, why) in limits.items()
        )
        parts.append(f"<h2>Thresholds</h2>\n<ul>{items}</ul>")
    parts.append(f"<h2>How to repeat</h2>\n<pre>{escape(document['repeat'])}</pre>")
    facts = "".join(f"<li>{escape(line)}</li>" for line in _facts(document, notes))
    parts.append(f"<h2>Where the numbers come from</h2>\n<ul>{facts}</ul>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{TITLE}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def to_latex(document: Mapping[str, Any]) -> str:
    """A ``tabular`` for each table; the LaTeX document needs the package booktabs."""
    head = [f"% {line}" for line in _facts(document, ())]
    text = _table(document["cells"], "latex_booktabs")
    # tabulate has escaped the signs one by one
    for found, wanted in (
        ("+-", r"$\pm$"),
        (r"\ensuremath{<}=", r"$\leq$"),
        (r"\ensuremath{>}=", r"$\geq$"),
    ):
        text = text.replace(found, wanted)
    more = [
        part
        for title, shown, legend in (*tables(document), *_wide(document["cells"]))
        for part in ("", f"% {title}", f"% {legend}", *_drawn(shown, "latex_booktabs"))
    ]
    return "\n".join([*head, text, *more]) + "\n"


def _table(cells: Sequence[Row], style: str) -> str:
    return _tabulated(_columns(cells), style)


def _wide(cells: Sequence[Row]) -> list[tuple[str, Columns, str]]:
    """The tables of all metrics and of learning that there are: wide, and so in files alone."""
    return [found for found in (metrics_table.table(cells), learning_table(cells)) if found]


def _drawn(shown: Columns, style: str) -> list[str]:
    """The table, if it has any column."""
    return [_tabulated(shown, style)] if shown else []


def _image(alt: str, image: bytes) -> str:
    encoded = base64.b64encode(image).decode()
    return f'<img alt="{alt}" src="data:image/png;base64,{encoded}">'


def _tabulated(shown: Columns, style: str) -> str:
    return str(
        tabulate(
            shown,
            headers="keys",
            tablefmt=style,
            disable_numparse=True,
            missingval="-",
            colalign=table.alignment(shown) if any(shown.values()) else None,
        )
    )


def _escaped(shown: Columns) -> Columns:
    return {
        name: [
            None if value is None else html.escape(value).replace("+-", "&plusmn;")
            for value in values
        ]
        for name, values in shown.items()
    }


def _columns(cells: Sequence[Row]) -> Columns:
    shown = table.columns(cells)
    notes = [cell["labels"]["note"].replace("-", " ") or None for cell in cells]
    return {**shown, "note": notes} if any(notes) else shown


def _html_table(cells: Sequence[Row]) -> str:
    shown = _escaped(_columns(cells))
    shown["verdict"] = [f'<span class="{verdict}">{verdict}</span>' for verdict in shown["verdict"]]
    return _tabulated(shown, "unsafehtml")


def _flat(cell: Row, costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    gate = deciding_gate(cell) or {}
    flat: dict[str, Any] = {"id": cell["id"], "hash": cell["hash"], "verdict": cell["verdict"]}
    flat["note"] = cell["labels"]["note"]
    flat["n"] = len(cell["seeds"])
    flat["seeds"] = _joined(cell["seeds"])
    for metric in MEASURED:
        found = cell["estimates"][metric] or {}
        for part in ("mean", "low", "high"):
            flat[f"{metric}_{part}"] = found.get(part)
        flat[f"{metric}_values"] = _joined(cell["values"][metric])
    if cell.get("asr_twin"):  # measured on a probe set alone
        flat["asr_twin_mean"] = statistics.fmean(cell["asr_twin"])
        flat["asr_twin_values"] = _joined(cell["asr_twin"])
    flat["retention"] = cell["retention"]
    flat |= metrics.flat(cell)
    for name, value in (cell.get("published") or {}).items():
        flat[f"published_{name}"] = value
    flat |= clients.flat(cell) | curves_flat(cell)
    for cost in costs:
        for part in ("reference", "effect", "low", "high"):
            flat[f"{cost['kind']}_cost_{part}"] = cost[part]
        flat[f"{cost['kind']}_cost_seeds"] = _joined(cost["seeds"])
    for name in ("threshold", "metric", "min", "max"):
        flat[f"gate_{name}"] = gate.get(name)
    flat["voids"] = "; ".join(cell.get("voids", ()))
    flat["unlimited"] = "; ".join(cell.get("unlimited", ()))
    flat["errors"] = "; ".join(cell["errors"])
    flat["diverged"] = "; ".join(cell["diverged"])
    flat["unproven"] = "; ".join(cell.get("unproven", []))
    for name, value in cell["scenario"].items():
        flat[name] = _joined(value) if isinstance(value, list) else value
    return flat


def _joined(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in values)


def _thresholds(cells: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """(limit, reason) by name, of every threshold that was applied."""
    gates = (gate for cell in cells for gate in cell["gates"])
    return {gate["threshold"]: (gate["limit"], gate["reason"]) for gate in gates}


def _facts(document: Mapping[str, Any], notes: Sequence[str]) -> list[str]:
    return [*facts(document), *notes]


def _bullets(document: Mapping[str, Any], notes: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in _facts(document, notes))
