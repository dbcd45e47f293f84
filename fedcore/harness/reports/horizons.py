"""What has converged at its horizon: marks beside accuracies, and what is left out, with reasons.

At ten rounds the order of arms is that of their learning speed. So no rank, cost or mean over cells
is made of an arm that has not been shown to have converged (`statistics.convergence`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedcore.harness.reports.rows import Row
from fedcore.harness.statistics.convergence import (
    FEWEST_ROUNDS,
    STILL,
    Convergence,
    Progress,
    why_not_compared,
)
from fedcore.harness.statistics.curves import tail_length

#: Behind an accuracy: the arm still rises, noise hides whether it does, its tail is too short.
MARKS = {"rising": "^", "open": "~", "flat": "", None: "?"}
#: Evaluated rounds from which on a tail is long enough for a test.
SHORTEST = next(n for n in itertools.count(1) if tail_length(n) >= FEWEST_ROUNDS)
#: What the marks mean.
MEANINGS = {
    "^": f"the arm still rises, by {STILL:g} point or more in ten rounds",
    "~": "noise hides whether the arm still rises",
    "?": f"the tail is too short for a test, which takes {SHORTEST} evaluated rounds or more",
}
#: Which marked arms ranks, costs and means do not leave out.
BUT_OPEN = ", but for attacked ones with ~, which may go up and down for ever"
#: Arms of one reason that are named.
_NAMED = 3

Left = dict[str, Any]


def state(course: Mapping[str, Any] | None, arm: str) -> str | None:
    """``flat``, ``rising`` or ``open`` of the ``arm`` of a row's course; None for a short tail."""
    found = (course or {}).get(arm)
    return None if found is None else str(found["state"])


def mark(cell: Row, arm: str) -> str:
    """The mark behind the accuracy of ``arm`` (clean, attacked); "" where nothing is known."""
    course = cell.get("course")
    return "" if course is None else course_mark(course[arm])


def course_mark(progress: Mapping[str, Any] | None) -> str:
    """The mark of an arm with this ``progress``; None: its tail is too short."""
    return MARKS[None if progress is None else str(progress["state"])]


def marks_line(cells: Sequence[Row]) -> str | None:
    """What the marks in a table of ``cells`` mean, at which horizon; None without any mark."""
    arms = [(cell, arm) for cell in cells for arm in arms_of(cell)]
    shown = dict.fromkeys(mark(cell, arm) for cell, arm in arms)
    meanings = [f"{sign} {MEANINGS[sign]}" for sign in MEANINGS if sign in shown]
    if not meanings:
        return None
    marked = [cell for cell, arm in arms if mark(cell, arm)]
    return (
        f"Not shown to have converged {at_rounds(marked)}: {'; '.join(meanings)}. Ranks, costs "
        f"and means over cells leave such arms out{BUT_OPEN if '~' in shown else ''}."
    )


def arms_of(cell: Row) -> tuple[str, ...]:
    """The arms of a cell that a table shows."""
    return ("clean",) if cell["scenario"].get("attack") is None else ("clean", "attacked")


def at_rounds(cells: Iterable[Row]) -> str:
    """``at 10 rounds``, ``at 40 and 80 rounds``: the horizons of ``cells``."""
    return horizons(int(cell["scenario"]["rounds"]) for cell in cells)


def horizons(rounds: Iterable[int]) -> str:
    """As `at_rounds`, of numbers of rounds."""
    found = sorted(set(rounds))
    text = ", ".join(map(str, found[:-1])) + (" and " if len(found) > 1 else "")
    return f"at {text}{found[-1]} round{'' if found == [1] else 's'}"


def course_lines(cell: Row) -> list[str]:
    """A line for each arm of ``cell``: whether it has converged at its horizon."""
    course = cell.get("course")
    if course is None:
        return []
    lines = []
    for arm in arms_of(cell):
        found, where = course[arm], f"{arm} arm {at_rounds([cell])}"
        if found is None:
            lines.append(f"{where}: {MEANINGS['?']}")
        else:
            lines.append(
                f"{where}: {found['state']}, its tail rises by {found['mean']:+.2f} points in ten "
                f"rounds [{found['low']:.2f}, {found['high']:.2f}]"
            )
    return lines


def unsettled(cell: Row) -> str | None:
    """Why no rank, cost or mean is made of ``cell``, None where it may be: first the clean arm."""
    reason = clean_unsettled(cell)
    if reason is not None:
        return f"without attack: {reason}"
    if "attacked" in arms_of(cell):
        reason = attacked_unsettled(cell["course"]["attacked"])
        return reason and f"under attack: {reason}"
    return None


def clean_unsettled(cell: Row) -> str | None:
    """As `unsettled`, of the clean arm of ``cell``."""
    if cell.get("course") is None:
        return "whether it has converged was not noted"
    return why_not_compared(_known(state(cell["course"], "clean")))


def attacked_unsettled(progress: Mapping[str, Any] | None) -> str | None:
    """As `unsettled`, of an attacked arm with this ``progress``; None: its tail is too short."""
    found = None if progress is None else str(progress["state"])
    return why_not_compared(_known(found), attacked=True)


def _known(found: str | None) -> Convergence | None:
    return None if found is None else Convergence(found)


def unsettled_arm(found: Progress | None) -> str | None:
    """As `unsettled`, of a clean arm whose progress is ``found``."""
    return why_not_compared(None if found is None else found.state)


def left_out_text(left: Sequence[Left], what: str) -> str:
    """``Left out: 12 cells at 10 rounds, ...``; "" for none. ``what`` names one of them.

    Of each reason and horizon the number and the first ids.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    for one in left:
        groups.setdefault((one["rounds"], one["reason"]), []).append(one["id"])
    parts = []
    for (rounds, reason), ids in groups.items():
        distinct = list(dict.fromkeys(ids))
        more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
        plural = "" if len(ids) == 1 else "s"
        parts.append(
            f"{len(ids)} {what}{plural} {horizons([rounds])}, {reason} "
            f"({', '.join(distinct[:_NAMED])}{more})"
        )
    return f"Left out: {'; '.join(parts)}." if parts else ""
