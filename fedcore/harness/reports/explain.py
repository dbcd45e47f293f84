"""What a test that does not hold prints: the numbers, the limits and their reasons, the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from fedcore.harness.reports.horizons import course_lines
from fedcore.harness.reports.rows import MEASURED, Row, deciding_gate, row
from fedcore.harness.suite.command import repeat_command

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome

_UNITS = {
    "clean": "%",
    "poisoned": "%",
    "asr": "%",
    "drop": "pp",
    "control": "pp",
    "control_asr": "%",
    "skill": "%",
    "twin_skill": "%",
    "retention": "%",
}
_SUBJECTS = {
    "clean": "clean tail accuracy",
    "poisoned": "poisoned tail accuracy",
    "drop": "drop",
    "asr": "attack success rate",
    "control": "drop of the undefended control",
    "control_asr": "attack success rate on the undefended control",
    "skill": "balanced accuracy between guessing and no error",
    "twin_skill": "balanced accuracy without the attack, between guessing and no error,",
    "retention": "poisoned / clean tail accuracy",
}
_MEANINGS = {
    "VOID": "the attack does too little to the undefended control, so this cell proves nothing",
    "twin_skill": "without the attack the arm learns nothing that could be lost, so this cell "
    "proves nothing",
    "unsure": "the interval holds the limit: more seeds (--seeds N) can tell",
    "no limit": "nothing that could fail is asked of this cell",
    "ERROR": "at least one run or pair is not valid, so nothing was judged",
}


def explain(outcome: Outcome, repeat: str) -> str:
    """All about ``outcome``; ``repeat`` is the base command, such as ``pytest benchmark``."""
    return explain_row(row(outcome), repeat)


def explain_row(cell: Row, repeat: str) -> str:
    """As `explain`, from a row."""
    decided = deciding_gate(cell)
    unskilled = cell["verdict"] == "VOID" and decided and decided["metric"] == "twin_skill"
    meaning = _MEANINGS.get("twin_skill" if unskilled else cell["verdict"])
    if cell.get("voids"):
        meaning = "; ".join(cell["voids"])
    elif cell["verdict"] == "no limit" and (cell.get("published") or {}).get("reported"):
        meaning = None  # the published value below says why
    parts = [f"{cell['id']}: {cell['verdict']}" + (f" ({meaning})" if meaning else "")]
    if any(cell["values"].values()):
        parts.append("\n".join([seed_table(cell), *course_lines(cell)]))
    if cell["gates"]:
        parts.append("\n".join(gate_text(gate, cell) for gate in cell["gates"]))
    elif not cell["errors"] and not cell.get("unlimited"):
        parts.append("no threshold applies to this cell")
    if cell.get("published"):
        parts.append(published_text(cell["published"]))
    for title, lines in (
        ("limits left out:", cell.get("unlimited", [])),
        ("errors:", cell["errors"]),
        ("diverged, counted at chance accuracy:", cell["diverged"]),
        ("notes:", cell.get("notes", [])),
        ("not proven:", cell.get("unproven", [])),  # results of earlier versions have none
    ):
        if lines:
            listed = ("  - " + line.replace("\n", "\n    ") for line in lines)
            parts.append("\n".join([title, *listed]))
    parts.append(f"repeat it with:\n  {repeat_command(cell['id'], repeat)}")
    return "\n\n".join(parts)


def seed_table(cell: Row) -> str:
    """One line per seed with what was measured, in percent and percentage points."""
    measured = {name: cell["values"][name] for name in MEASURED if cell["values"][name]}
    table = {"seed": [str(seed) for seed in cell["seeds"]]}
    table |= {name: [f"{v:.2f}" for v in values] for name, values in measured.items()}
    text = tabulate(
        table,
        headers="keys",
        tablefmt="simple",
        disable_numparse=True,
        missingval="-",
        colalign=["right"] * len(table),
    )
    return str(text)


def gate_text(gate: Mapping[str, Any], cell: Row) -> str:
    """Estimate, interval, limit, threshold and its reason, in two lines."""
    found, unit = gate["estimate"], _UNITS[gate["metric"]]
    subject = _SUBJECTS[gate["metric"]]
    if gate["metric"] in ("control", "control_asr") and cell["control"]:
        subject += f" {cell['control']}"
    return (
        f"{subject} {found['mean']:.2f} {unit}, {100 * found['confidence']:.3g} % interval "
        f"[{found['low']:.2f}, {found['high']:.2f}] over {found['seeds']} seeds, "
        f"limit {gate['limit']}: {gate['verdict']}\n"
        f"  threshold {gate['threshold']}: {gate['reason']}"
    )


def published_text(beside: Mapping[str, Any]) -> str:
    """What a study printed for the cell, and why the cell is not judged against it."""
    parts = []
    if beside["value"] is not None:
        difference = beside["difference"]
        found = "" if difference is None else f", found {difference:+.2f} points from it"
        parts.append(f"published: {beside['value']:g} % ({beside['source']}){found}")
    if beside["reported"] is not None:
        parts.append(f"reported, not judged against what was published: {beside['reported']}")
    return "\n".join(parts)
