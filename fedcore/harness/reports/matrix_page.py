"""A document of the matrices in a results.json: tables, marks, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedcore.errors import ResultsError, StoreError
from fedcore.harness.reports.horizons import horizons
from fedcore.harness.reports.matrix import Table
from fedcore.harness.reports.matrix_text import markdown_matrices
from fedcore.harness.reports.provenance import facts
from fedcore.harness.reports.summaries import number
from fedcore.outside.files import TooLargeError, read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.records.store import write_atomically

#: What stands below this line is written by hand, and kept when the page is made again.
KEPT = "<!-- Below: written by hand, kept when this page is made again. -->"
#: Cells that a page names as unlike what their row and column predict.
STANDING_OUT = 8


def write_page(content: Mapping[str, Any], path: Path, source: str) -> None:
    """Write the page of ``content``, of a results.json, to ``path``; ``source`` is the command.

    What stands in it below `KEPT` stays. Raises StoreError where there is no matrix in ``content``,
    and where the page cannot be read or written.
    """
    if not content.get("matrices"):
        raise ResultsError(
            "these results hold no matrix of defences: make them with "
            "pytest benchmark/test_defences.py --report DIR"
        )
    try:
        known = read_text(path, JSON_BYTES) if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page(content, source) + _below(known))
    except (OSError, UnicodeDecodeError, TooLargeError) as error:
        raise StoreError(
            f"the page cannot be written to {path} ({getattr(error, 'strerror', None) or error}): "
            "name another file"
        ) from error


def page(content: Mapping[str, Any], source: str) -> str:
    """The text of the page down to `KEPT`."""
    tables = content["matrices"]
    names = ", ".join(dict.fromkeys(table["dataset"] for table in tables))
    parts = [
        f"# Defences against attacks: {names}",
        f"Made by `{source}` of what `{content['repeat']}` measured; date, machine and versions "
        "stand at the end.",
        markdown_matrices(tables),
        "### Cells that stand out",
        f"Poisoned accuracy {horizons(table['rounds'] for table in tables)} against what the mean "
        "effects of row and column predict, over the compared part of each table, whether or not "
        "an arm has converged.",
        "\n".join(f"- {line}" for line in _standing_out(tables)) or "None: too few cells.",
        "### Where the numbers come from",
        "\n".join(f"- {line}" for line in facts(content)),
    ]
    return "\n\n".join(parts) + f"\n\n{KEPT}\n"


def residuals(table: Table) -> dict[tuple[str, str], tuple[float, float]]:
    """(measured, predicted) accuracy by (defence, attack) where every compared cell is measured.

    The prediction is the additive one: mean of the row + mean of the column - mean of all.
    """
    compared = table["compared"]
    rows = [row for row in table["rows"] if all(label in row["cells"] for label in compared)]
    if len(rows) < 2 or len(compared) < 2:
        return {}
    values = np.array([[row["cells"][a]["poisoned"]["mean"] for a in compared] for row in rows])
    predicted = values.mean(axis=1)[:, None] + values.mean(axis=0)[None, :] - values.mean()
    return {
        (row["defence"], label): (float(values[i, j]), float(predicted[i, j]))
        for i, row in enumerate(rows)
        for j, label in enumerate(compared)
    }


def _standing_out(tables: list[Table]) -> Iterator[str]:
    found = [
        (abs(measured - expected), table, place, measured, expected)
        for table in tables
        for place, (measured, expected) in residuals(table).items()
    ]
    for _, table, (defence, label), measured, expected in sorted(found, key=lambda one: -one[0])[
        :STANDING_OUT
    ]:
        yield (
            f"{table['dataset']}, {table['partition']}: {defence} under {label} has "
            f"{number(measured)}, predicted {number(expected)}."
        )


def _below(known: str) -> str:
    """What was written by hand in the page that is replaced."""
    return known.partition(KEPT)[2].removeprefix("\n")
