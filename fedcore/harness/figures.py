"""Figures of a report; matplotlib is optional."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from fedcore.harness.rows import Row, mean

Grid = tuple[list[str], list[str], list[list[float]]]


def drop_grid(cells: Sequence[Row]) -> Grid | None:
    """(arms, attacks, drop [arm][attack] in percentage points, NaN where there is no cell).

    None where no cell has a drop.
    """
    found: dict[tuple[str, str], float] = {}
    for cell in cells:
        names, drop = cell["labels"], mean(cell, "drop")
        if drop is not None:
            arm = " ".join(filter(None, (names["strategy"], names["partition"], names["note"])))
            what = " ".join(filter(None, (names["variant"], names["redraw"])))
            attack = f"{what} {names['malicious']}/{names['poison']}"
            found[arm, attack] = drop
    if not found:
        return None
    arms = list(dict.fromkeys(arm for arm, _ in found))
    attacks = list(dict.fromkeys(attack for _, attack in found))
    return arms, attacks, [[found.get((a, b), math.nan) for b in attacks] for a in arms]


def drop_figure(cells: Sequence[Row]) -> bytes | None:
    """A heat map of the drop, arms by attacks, as PNG; None where no cell has a drop.

    Raises ImportError without matplotlib.
    """
    grid = drop_grid(cells)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if grid is None:
        return None
    arms, attacks, drops = grid
    figure = Figure(
        figsize=(max(6.0, 3.5 + 0.65 * len(attacks)), 2.2 + 0.32 * len(arms)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    finite = [value for line in drops for value in line if not math.isnan(value)]
    top = max(5.0, *finite)
    image = axes.imshow(drops, cmap="YlOrRd", vmin=0, vmax=top, aspect="auto")
    axes.set_facecolor("0.9")
    axes.set_xticks(range(len(attacks)), attacks, rotation=45, ha="right")
    axes.set_yticks(range(len(arms)), arms)
    for y, line in enumerate(drops):
        for x, value in enumerate(line):
            if not math.isnan(value):
                ink = "white" if value > 0.6 * top else "black"
                axes.text(x, y, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xlabel("attack, malicious / poisoned (%)")
    figure.colorbar(image, ax=axes, label="drop (percentage points)")
    file = io.BytesIO()
    # no version of matplotlib in the file: equal results give equal bytes
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()
