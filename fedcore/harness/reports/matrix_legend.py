"""What the tables of a matrix of defences mean: marks, settings of attacks, what has no rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.harness.reports.matrix import Table
from fedcore.harness.reports.summaries import number
from fedcore.harness.statistics.convergence import STILL


def heading(table: Table) -> str:
    """``mnist5k, dirichlet0.3, cnn: 25 clients, 40 rounds, 5 seeds``."""
    seeds = len(table["seeds"])
    return (
        f"{table['dataset']}, {table['partition']}, {table['model']}: {table['clients']} clients, "
        f"{table['rounds']} rounds, {seeds} seed{'' if seeds == 1 else 's'}"
    )


def legend(table: Table) -> list[str]:
    """What the columns and marks mean, how attacks are set, and what has no rank and why."""
    level = f"{100 * table['confidence']:.3g} %"
    lines = [
        "clean: accuracy of the tail without an attacker, %; cost: what that is below undefended "
        "averaging, points. Attacks: tail accuracy under the attack, %. worst: the least over the "
        f"compared attacks ({', '.join(table['compared'])}) with its {level} interval, for which "
        "the worst attack is sought anew in every resample of whole seeds, and the attacks that "
        f"may be it. rank: by the worst case, {level} interval of each defence on its own, from "
        "the same resamples: ties share their ranks.",
        *_exposure(table),
    ]
    for attack in table["attacks"]:
        control = attack["control"]
        effect = ""
        if control is not None:
            drop = control["drop"]
            effect = f"; undefended averaging loses {interval(drop)} points"
            if attack["backdoor"] and control["asr"] and control["asr_twin"]:
                effect += (
                    f", ASR {number(control['asr']['mean'])} (clean twin "
                    f"{number(control['asr_twin']['mean'])})"
                )
            if not attack["bites"]:
                effect += ": no shown effect, the column proves nothing"
        lines.append(f"{attack['label']}: {attack['setting']}, knows {_knows(attack)}{effect}.")
    lines += _convergence(table)
    missing = [row for row in table["rows"] if _unranked_for_holes(row)]
    if missing:
        names = ", ".join(row["defence"] for row in missing)
        lines.append(f"Not every compared attack is measured on {names}: no rank.")
    diverged = [
        f"{row['defence']} under {label} ({cell['diverged']})"
        for row in table["rows"]
        for label, cell in row["cells"].items()
        if cell["diverged"]
    ]
    if diverged:
        lines.append(f"Diverged runs, counted at chance accuracy: {', '.join(diverged)}.")
    return lines


def _unranked_for_holes(row: Mapping[str, Any]) -> bool:
    return "measured" in (row["unranked"] or "")


def _convergence(table: Table) -> Iterator[str]:
    """Which clean arms have not converged, or may not have, and how much they still rise."""
    by_state: dict[str | None, list[str]] = {}
    for row in table["rows"]:
        course = row["course"]
        rise = "" if course is None else f" ({interval(course, signed=True)})"
        by_state.setdefault((course or {}).get("state"), []).append(f"{row['defence']}{rise}")
    test = f"rise in points per ten rounds of the clean arm's tail, limit {STILL:g}"
    if "rising" in by_state:
        listed = ", ".join(by_state["rising"])
        yield f"^ not converged, and so not ranked ({test}): {listed}."
    if "open" in by_state:
        listed = ", ".join(by_state["open"])
        yield f"~ ranked, though the noise hides whether it still rises ({test}): {listed}."
    if None in by_state:
        yield "? too few rounds for a test of convergence, and so no rank."


def _exposure(table: Table) -> Iterator[str]:
    found = table["exposure"]
    if found is not None:
        yield (
            f"Every defence is told f = {found['declared']}, the expected number of malicious "
            f"clients in a cohort; there were {found['least']} to {found['most']} (mean "
            f"{found['mean']:.2f}), more than f in {found['above']} of {found['rounds']} rounds."
        )


def _knows(attack: Mapping[str, Any]) -> str:
    return {
        "data": "its own data",
        "own": "its own updates",
        "omniscient": "the benign updates (omniscient, *)",
    }[attack["knows"]]


def interval(found: Mapping[str, Any], signed: bool = False) -> str:
    """``4.2 [1.0, 7.5]``; the mean alone where there is no interval."""
    sign = "+" if signed and found["mean"] > 0 else ""
    if found["low"] is None:
        return sign + number(found["mean"])
    return f"{sign}{number(found['mean'])} [{number(found['low'])}, {number(found['high'])}]"
