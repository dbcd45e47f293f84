"""Standings as sections of a report: a table for each scope, and a figure of the profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedcore.harness.comparisons.standings import Standing
from fedcore.harness.reports.figures import new_figure, png
from fedcore.harness.reports.horizons import horizons, left_out_text
from fedcore.harness.reports.sections import Section
from fedcore.harness.reports.summaries import Columns, number


def standing_sections(found: Sequence[Standing]) -> list[Section]:
    """A section for each of `standings.standings`, the first with a figure of all profiles."""
    figure: bytes | None = None
    note = ""
    if found:
        try:
            figure = profile_figure(found)
        except ImportError as error:
            note = f" The figure is left out: {error} (pip install matplotlib)."
    return [
        Section(
            title(standing),
            columns(standing),
            legend(standing) + (note if place == 0 else ""),
            figure if place == 0 else None,
            "profiles.png",
        )
        for place, standing in enumerate(found)
    ]


def title(standing: Standing) -> str:
    """``standing over 4 cells of dirichlet0.3 at 40 rounds``."""
    setting = "".join(f", {name} {value}" for name, value in standing["setting"].items())
    count = len(standing["cells"])
    cells = f"{count} cell{'' if count == 1 else 's'}"
    return f"standing over {cells} of {standing['scope']} {horizons(standing['rounds'])}{setting}"


def columns(standing: Standing) -> Columns:
    """A line for each arm, the best mean first."""
    rows = standing["rows"]
    found: Columns = {
        "arm": [row["arm"] for row in rows],
        "mean": [_span(row) for row in rows],
        "rank": [rank_text(row["rank"]) for row in rows],
        "worst": [_span(row["worst"]) for row in rows],
        "its rank": [rank_text(row["worst_rank"]) for row in rows],
    }
    for place, distance in enumerate(standing["within"]):
        head = "best" if distance == 0 else f"<={distance:g}"
        found[head] = [f"{100 * row['share'][place]:.0f}" for row in rows]
    return found


def legend(standing: Standing) -> str:
    """What the columns mean, over which cells, and which arms take no part, and why."""
    seeds, level = len(standing["seeds"]), 100 * standing["confidence"]
    how = f"{level:.3g} % intervals over {seeds} whole seed blocks"
    if seeds == 1:
        how = "a single seed, which says nothing about ranks"
    worst = "; ".join(f"{row['arm']} {row['worst']['cells'][0]}" for row in standing["rows"])
    parts = [
        f"mean, worst: tail accuracy over and in the worst of the cells, %; rank 1 is the best; "
        f"{how}. best, <=1, ...: cells in which the mean is the best arm's, or so many points "
        f"below it at most, % (performance profile). Cells: {', '.join(standing['cells'])}. Worst: "
        f"{worst}.",
        left_out_text(standing["left_out"], "cell"),
    ]
    if standing["absent"]:
        parts.append(
            f"Not measured or not converged in every cell: {', '.join(standing['absent'])}."
        )
    return " ".join(filter(None, parts))


def profile_figure(found: Sequence[Standing]) -> bytes:
    """Share of the cells within a distance of the best, a panel for each scope, as PNG.

    Raises ImportError without matplotlib.
    """
    figure = new_figure(7.0, 3.2 * len(found))
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    names = list(dict.fromkeys(row["arm"] for standing in found for row in standing["rows"]))
    for axes, standing in zip(panels, found, strict=True):
        far = max(max(row["gaps"]) for row in standing["rows"])
        end = max(1.0, 1.05 * far)
        for row in standing["rows"]:
            gaps = sorted(row["gaps"])
            shares = [100 * (place + 1) / len(gaps) for place in range(len(gaps))]
            order = names.index(row["arm"])
            axes.step(
                [0.0, *gaps, end],
                [0.0, *shares, shares[-1]],
                where="post",
                color=f"C{order % 10}",
                linestyle=("-", "--", ":", "-.")[order // 10 % 4],
                label=row["arm"],
            )
        axes.set_title(title(standing), fontsize=9)
        axes.set_xlim(0, end)
        axes.set_ylim(0, 105)
        axes.set_xlabel("points below the best arm of the cell")
        axes.set_ylabel("cells, %")
        axes.legend(fontsize=7, loc="lower right")
    return png(figure)


def _span(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return number(found["mean"])
    return f"{number(found['mean'])} [{number(found['low'])}, {number(found['high'])}]"


def rank_text(rank: Mapping[str, int] | None) -> str | None:
    """``2``, or ``1-3`` for an interval; None without ranks."""
    if rank is None:
        return None
    best, worst = rank["best"], rank["worst"]
    return str(best) if best == worst else f"{best}-{worst}"
