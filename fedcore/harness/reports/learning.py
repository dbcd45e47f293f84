"""The table and the figure of learning: of each cell both arms, how fast and how far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.harness.reports.curves import reached_text
from fedcore.harness.reports.figures import new_figure, png
from fedcore.harness.reports.rows import Row
from fedcore.harness.reports.summaries import Columns, number
from fedcore.harness.reports.table import columns
from fedcore.harness.statistics.convergence import STILL
from fedcore.harness.statistics.curves import LEVEL_SHARE

TITLE = "learning"
#: What the figure shows.
LINES = (
    "Mean over the seeds by evaluated round; bands are 90 % intervals of single rounds. Black: "
    "nobody attacks. At most six attacked arms a panel, those with the smallest area."
)
#: Panels side by side, attacked arms in each, and the colours that tell these apart.
_ACROSS = 4
_WIDE, _HIGH = 3.4, 2.8
_LINES = 6
_COLOURS = ("tab:red", "tab:blue", "tab:green", "tab:orange", "tab:purple", "tab:brown")


def learning_table(cells: Sequence[Row]) -> tuple[str, Columns, str] | None:
    """Title, columns and legend; None where no cell has a curve."""
    shown = [cell for cell in cells if cell.get("curves")]
    if not shown:
        return None
    head = columns(shown)
    notes = [cell["labels"]["note"].replace("-", " ") or None for cell in shown]
    table: Columns = {name: head[name] for name in ("strategy", "partition", "attack", "mal/poi")}
    table |= {"note": notes} if any(notes) else {}
    table["rounds"] = [str(cell["curves"]["rounds"][-1]) for cell in shown]
    for title, arm in (("clean", "clean"), ("poisoned", "attacked")):
        arms = [cell["curves"][arm] for cell in shown]
        lasts = [cell["curves"]["rounds"][-1] for cell in shown]
        pairs = zip(arms, lasts, strict=True)
        table[f"{title}: rounds to 90 %"] = [reached_text(one, last) for one, last in pairs]
        table[f"{title}: area"] = [one and _with_interval(one["area_estimate"]) for one in arms]
        table[f"{title}: rise"] = [_rise((cell.get("course") or {}).get(arm)) for cell in shown]
    return TITLE, {name: values for name, values in table.items() if any(values)}, _legend(shown)


def _legend(cells: Sequence[Row]) -> str:
    level = cells[0]["curves"]["confidence"]
    return (
        "rounds: the horizon. rounds to 90 %: the round in which an arm first has "
        f"{100 * LEVEL_SHARE:g} % of the tail accuracy of its clean twin on the same seed, on "
        "straight lines between evaluated rounds; its first evaluated round at the earliest. The "
        "median over the seeds, where one that did not get there by the horizon is later than all "
        "that did. area: mean accuracy over all rounds up to the horizon, %, with its "
        f"{100 * level:.3g} % interval. rise: points per ten rounds of the tail; flat where the "
        f"whole interval is below {STILL:g}, rising where the mean is not and the whole interval "
        "is above 0."
    )


def _with_interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return number(found["mean"])
    return f"{number(found['mean'])} [{number(found['low'])}, {number(found['high'])}]"


def _rise(found: Mapping[str, Any] | None) -> str | None:
    return None if found is None else f"{found['state']} {_with_interval(found)}"


def learning_figure(cells: Sequence[Row]) -> bytes | None:
    """A panel for each arm (strategy, partition) with its clean and attacked curves, as PNG.

    Of more than six attacked arms those with the smallest areas. The bands are those of single
    rounds. None where no cell has a curve; ImportError without matplotlib.
    """
    panels = _panels(cells)
    if not panels:
        return None
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    width, height = _WIDE * across, _HIGH * down
    # laid out by hand: matplotlib's way takes seconds for a dozen of panels
    figure = new_figure(width, height, layout=None)
    figure.subplots_adjust(
        left=0.5 / width, right=1 - 0.1 / width, bottom=0.45 / height, top=1 - 0.3 / height,
        wspace=0.25, hspace=0.4,
    )  # fmt: skip
    for place, (title, members) in enumerate(panels.items()):
        axes = figure.add_subplot(down, across, place + 1)
        _draw(axes, members)
        axes.set_title(title, fontsize=9)
        axes.set_ylim(0, 100)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, loc="lower right")
        axes.set_xlabel("round", fontsize=7)
        axes.set_ylabel("accuracy (%)", fontsize=7)
    return png(figure)


def _panels(cells: Sequence[Row]) -> dict[str, list[Row]]:
    panels: dict[str, list[Row]] = {}
    for cell in cells:
        if cell.get("curves"):
            names = cell["labels"]
            arm = " ".join(filter(None, (names["strategy"], names["partition"], names["note"])))
            panels.setdefault(arm, []).append(cell)
    return panels


def _draw(axes: Any, members: Sequence[Row]) -> None:
    """Clean twin in black; every attacked arm in a colour of its own."""
    lines = [("nobody attacks", "black", members[0]["curves"]["rounds"], "clean", members[0])]
    attacked = [cell for cell in members if cell["curves"]["attacked"]]
    attacked.sort(key=lambda cell: float(cell["curves"]["attacked"]["area_estimate"]["mean"]))
    for colour, cell in zip(_COLOURS, attacked[:_LINES], strict=False):
        names = cell["labels"]
        label = f"{names['variant']} {names['malicious']}/{names['poison'] or '-'}"
        lines.append((label, colour, cell["curves"]["rounds"], "attacked", cell))
    for label, colour, rounds, arm, cell in lines:
        found = cell["curves"][arm]
        axes.plot(rounds, found["mean"], color=colour, linewidth=1.2, label=label)
        if found["low"] is not None:
            axes.fill_between(
                rounds, found["low"], found["high"], color=colour, alpha=0.15, linewidth=0
            )
