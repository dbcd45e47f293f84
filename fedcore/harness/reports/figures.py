"""Figures of a report; matplotlib is optional."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fedcore.harness.reports.rows import Row, mean

Layout = Literal["constrained", "tight"]
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
    if grid is None:
        return None
    arms, attacks, drops = grid
    figure = new_figure(max(6.0, 3.5 + 0.65 * len(attacks)), 2.2 + 0.32 * len(arms))
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
    return png(figure)


def proportion_figure(points: Mapping[float, float], across: str, up: str) -> bytes:
    """``points`` {x: y} and the straight line through the origin that fits them best, as PNG.

    ``across`` and ``up`` name the axes. Raises ImportError without matplotlib.
    """
    slope = sum(x * y for x, y in points.items()) / sum(x * x for x in points)
    figure = new_figure(5.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(list(points), list(points.values()), "o", label="measured")
    end = max(points)
    axes.plot([0, end], [0, slope * end], "-", color="0.6", label=f"{slope:.3g} x")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend()
    return png(figure)


def new_figure(width: float, height: float, layout: Layout | None = "constrained") -> Any:
    """A matplotlib figure of ``width`` by ``height`` inches. Raises ImportError without it.

    ``layout`` is the engine that makes room for labels; None leaves that to the caller.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    """``figure`` as a PNG file."""
    file = io.BytesIO()
    # no version of matplotlib in the file: equal results give equal bytes
    with warnings.catch_warnings():
        # labels longer than the figure leave no room for its layout: it is drawn without
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()
