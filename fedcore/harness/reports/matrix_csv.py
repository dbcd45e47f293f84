"""The cells of matrices of defences as CSV, a line each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from fedcore.harness.reports.matrix import Table
from fedcore.harness.reports.matrix_text import rank_text


def matrices_csv(tables: Sequence[Table]) -> str:
    """A line for each cell, at full precision, in points and percent."""
    lines = [line for table in tables for line in _lines(table)]
    text = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _lines(table: Table) -> Iterator[dict[str, Any]]:
    knows = {attack["label"]: attack for attack in table["attacks"]}
    for row in table["rows"]:
        course, worst = row["course"] or {}, row["worst"] or {}
        head = {
            **{name: table[name] for name in ("dataset", "partition", "model", "rounds")},
            "seeds": " ".join(map(str, table["seeds"])),
            "defence": row["defence"],
            "clean": row["clean"]["mean"],
            "cost": row["cost"] and row["cost"]["mean"],
            "convergence": course.get("state"),
            "rise_per_ten_rounds": course.get("mean"),
            "worst_attack": (worst.get("attacks") or [None])[0],
            **{f"worst_{part}": worst.get(part) for part in ("mean", "low", "high")},
            "rank": rank_text(row["rank"]),
            "unranked": row["unranked"],
            "uncosted": row.get("uncosted"),
        }
        for label, cell in row["cells"].items():
            line = {**head, "attack": label}
            line |= {name: knows[label][name] for name in ("setting", "knows")}
            for name in ("poisoned", "drop", "asr", "asr_twin"):
                for part in ("mean", "low", "high"):
                    line[f"{name}_{part}"] = cell[name] and cell[name][part]
            attacked = cell["course"] or {}
            line["attack_convergence"] = attacked.get("state")
            line["attack_rise_per_ten_rounds"] = attacked.get("mean")
            line["attack_rank"] = rank_text(cell.get("rank"))
            line["diverged"] = cell["diverged"]
            line |= {f"malicious_{n}": v for n, v in (cell["exposure"] or {}).items()}
            yield line
