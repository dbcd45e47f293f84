"""The table of all metrics with their intervals, for reports: a terminal has no room for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.harness.reports.metrics import FURTHER, beyond
from fedcore.harness.reports.summaries import Columns, number

Row = Mapping[str, Any]

TITLE = "every metric, with its interval"
_FIRST = {"clean": "clean", "poisoned": "poisoned", "drop": "drop", "asr": "ASR"}


def beyond_text(cells: Sequence[Row]) -> str | None:
    """What the mark ! means, with how many rounds of which rule; None where no cell has it."""
    found: dict[str, None] = {}
    for cell in cells:
        if beyond(cell):
            names = cell["labels"]
            found[f"{names['strategy']} at {names['malicious']} % {_beyond(cell)}"] = None
    if not found:
        return None
    return (
        "!: in some rounds more malicious clients than the rule is made for, in parentheses: share "
        f"of the rounds, with that of all seeds: {'; '.join(found)}."
    )


def table(cells: Sequence[Row]) -> tuple[str, Columns, str] | None:
    """(title, columns, legend) of all metrics with intervals; None without cells of this version.

    For the report alone: a terminal has no room for it.
    """
    if not any("assumption" in cell for cell in cells):
        return None
    labels = [cell["labels"] for cell in cells]
    columns: Columns = {
        "strategy": [names["strategy"] for names in labels],
        "partition": [names["partition"] for names in labels],
        "attack": [names["variant"] or names["attack"] for names in labels],
        "mal/poi": [
            f"{n['malicious']}/{n['poison'] or '-'}" if n["malicious"] else None for n in labels
        ],
        "note": [names["note"].replace("-", " ") or None for names in labels],
    }
    for name, head in (_FIRST | FURTHER).items():
        digits = 2 if name == "retention" else 1
        columns[head] = [_span(cell["estimates"].get(name), digits) for cell in cells]
    columns["exposure"] = [_exposure(cell) for cell in cells]
    columns["rounds beyond"] = [_beyond(cell) for cell in cells]
    columns["adjusted"] = [_span(cell.get("adjusted"), 1) for cell in cells]
    shown = {name: values for name, values in columns.items() if any(values)}
    return TITLE, shown, _legend(cells, shown)


def _legend(cells: Sequence[Row], shown: Columns) -> str:
    level = next(
        (e["confidence"] for c in cells for e in c["estimates"].values() if e and e["confidence"]),
        None,
    )
    said = "" if level is None else f" [{100 * level:.3g} % interval]"
    text = (
        f"Tail values{said}, mean over the seeds; of the attacked arm, or of the clean one where "
        "nobody attacks. retention: mean poisoned over mean clean accuracy (Fieller's interval). "
        "balanced: mean recall of the classes; worst class: the least recall of a class over the "
        "tail. Intervals of worst class, ASR net and exposure are Student's without a prior, "
        "cut to what is possible."
    )
    if "ASR" in shown:
        text += (
            " ASR net: success rate minus the clean twin's, points, of attacks with a probe set, "
            "on which the twin is scored."
        )
    if "exposure" in shown:
        text += (
            " exposure: poisoned share of the samples in the sampled cohorts, %, the nominal one "
            "in parentheses."
        )
    if "rounds beyond" in shown:
        text += (
            " rounds beyond: share of rounds with more malicious clients than the rule is made "
            "for; in parentheses that number, and the share that is expected over all seeds."
        )
    if "adjusted" in shown:
        text += (
            " adjusted: a second estimate of the poisoned accuracy, at the nominal exposure and "
            "the clean twins' mean of these seeds, with fitted weights; its interval is "
            "conditional on these twins, and compares arms of the same seeds."
        )
    reasons = dict.fromkeys(cell["unadjusted"] for cell in cells if cell.get("unadjusted"))
    return text + "".join(f" No adjusted value: {reason}." for reason in reasons)


def _exposure(cell: Row) -> str | None:
    text, found = _span(cell["estimates"].get("exposure"), 1), cell.get("exposure")
    if text is None or found is None or found["nominal"] is None:
        return text
    return f"{text} ({number(found['nominal'])})"


def _beyond(cell: Row) -> str | None:
    """``80 % (2; 69 %)``: of rounds with more than 2 malicious clients; 69 % are expected."""
    found = cell.get("assumption")
    if found is None:
        return None
    rest = "" if found["expected"] is None else f"; {100 * found['expected']:.0f} %"
    return f"{100 * found['share']:.0f} % ({found['declared']}{rest})"


def _span(found: Mapping[str, Any] | None, digits: int) -> str | None:
    if found is None:
        return None
    text = number(found["mean"], digits)
    if found["low"] is None:
        return text
    return f"{text} [{number(found['low'], digits)}, {number(found['high'], digits)}]"
