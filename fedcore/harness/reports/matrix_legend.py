"""What the tables of a matrix of defences mean: marks, settings of attacks, what has no rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.harness.reports.horizons import BUT_OPEN, MEANINGS, course_mark, horizons
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
        f"All {horizons([table['rounds']])}. clean: accuracy of the tail without an attacker, %; "
        "cost: what that is below undefended averaging, points. Attacks: tail accuracy under the "
        "attack, %. worst: the least over the "
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
    lines += [*_convergence(table), *_left_out(table)]
    diverged = [
        f"{row['defence']} under {label} ({cell['diverged']})"
        for row in table["rows"]
        for label, cell in row["cells"].items()
        if cell["diverged"]
    ]
    if diverged:
        lines.append(f"Diverged runs, counted at chance accuracy: {', '.join(diverged)}.")
    return lines


def _convergence(table: Table) -> Iterator[str]:
    """What the marks mean, and how much the clean arms rise that have not converged."""
    rows = table["rows"]
    shown = [row["course"] for row in rows]
    shown += [cell["course"] for row in rows for cell in row["cells"].values()]
    signs = {course_mark(course) for course in shown}
    meanings = "; ".join(f"{sign} {MEANINGS[sign]}" for sign in MEANINGS if sign in signs)
    if meanings:
        yield (
            f"Not shown to have converged {horizons([table['rounds']])}: {meanings}. Ranks and "
            f"costs leave such arms out{BUT_OPEN if '~' in signs else ''}."
        )
    rising = [
        f"{row['defence']} ({interval(row['course'], signed=True)})"
        for row in rows
        if row["course"] is not None and course_mark(row["course"])
    ]
    if rising:
        yield (
            "Rise in points per ten rounds of the clean arm's tail, "
            f"limit {STILL:g}: {', '.join(rising)}."
        )


def _left_out(table: Table) -> Iterator[str]:
    """What has no rank and no cost, by the reason."""
    at = horizons([table["rounds"]])
    for title, name in (("No rank", "unranked"), ("No cost", "uncosted")):
        by_reason: dict[str, list[str]] = {}
        for row in table["rows"]:
            if row.get(name):
                by_reason.setdefault(row[name], []).append(row["defence"])
        for reason, names in by_reason.items():
            yield f"{title} {at}: {', '.join(names)} ({reason})."


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
