"""The history of a baseline as a section of a report: a table of what moved, and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedcore.harness.comparisons.history import KINDS, Version, before, history
from fedcore.harness.reports.figures import new_figure, png
from fedcore.harness.reports.sections import Section
from fedcore.harness.reports.summaries import Columns, number

_HEADS = {"clean": ("clean", "clean moved"), "poisoned": ("attacked", "attacked moved")}


def history_section(path: Path) -> Section:
    """The history of the baseline ``path``, without a figure where there is no matplotlib.

    Raises what `history` does.
    """
    versions = history(path)
    figure: bytes | None = None
    lines = (
        "In the figure a line joins versions of the same scenarios and seeds, and a dotted one "
        "stands before a file of another machine class."
    )
    try:
        figure = history_figure(versions)
    except ImportError as error:
        lines = f"The figure is left out: {error} (pip install matplotlib)."
    commits = len(dict.fromkeys(version.commit for version in versions))
    legend = (
        f"{commits} version{'' if commits == 1 else 's'} of {path} in git, the oldest first; of "
        "each the strategies in which something moved. clean, attacked: mean tail accuracy over "
        "all recorded arms and seeds, %; *: over other scenarios or seeds than before. moved: mean "
        f"difference, percentage points, over those that both versions hold. {lines}"
    )
    return Section(f"history of {path.name}", columns(versions), legend, figure, "history.png")


def columns(versions: Sequence[Version]) -> Columns:
    """A line for each strategy of a version in which anything differs from the one before."""
    found: Columns = {"date": [], "commit": [], "strategy": []}
    found |= {name: [] for heads in _HEADS.values() for name in heads}
    for place, version in enumerate(versions):
        old = before(versions, place)
        gone = [] if old is None else [s for s in old.strategies if s not in version.strategies]
        for strategy in (*version.strategies, *gone):
            cells: dict[str, str | None] = {}
            for kind, (level, change) in _HEADS.items():
                mean, moved = version.mean(kind, strategy), version.moved(old, kind, strategy)
                same = version.same_runs(old, kind, strategy)
                cells[level] = None if mean is None else number(mean) + ("" if same else "*")
                cells[change] = f"{moved:+.2f}" if moved else None
                if mean is None and not same:
                    cells[level] = "gone"
            if any(cells[change] for _, change in _HEADS.values()) or any(
                (cells[level] or "").endswith(("*", "gone")) for level, _ in _HEADS.values()
            ):
                shown = {"date": version.date, "commit": version.commit[:9], "strategy": strategy}
                for name, value in (shown | cells).items():
                    found[name].append(value)
    return found


def history_figure(versions: Sequence[Version]) -> bytes:
    """Mean accuracies by version, a panel without attack and one under attack, as PNG.

    A dotted line stands before the first version of another file, which is of another machine
    class. Raises ImportError without matplotlib.
    """
    strategies = list(dict.fromkeys(name for v in versions for name in v.strategies))
    figure = new_figure(max(6.0, 3.0 + 0.6 * len(versions)), 7.0)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (kind, title) in zip(panels, KINDS.items(), strict=True):
        for order, strategy in enumerate(strategies):
            _line(axes, versions, kind, strategy, f"C{order % 10}", "osv^D"[order // 10 % 5])
        for place in range(1, len(versions)):
            if all(versions[place].file != earlier.file for earlier in versions[:place]):
                axes.axvline(place - 0.5, linestyle=":", color="0.5")
        axes.set_ylabel(f"{title}, %")
        axes.grid(axis="y", color="0.9")
    labels = [f"{version.commit[:9]}\n{version.date}" for version in versions]
    panels[-1].set_xticks(range(len(versions)), labels, rotation=45, ha="right", fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    others, more = panels[1].get_legend_handles_labels()
    shown = dict(zip((*names, *more), (*handles, *others), strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize=8)
    return png(figure)


def _line(
    axes: Any, versions: Sequence[Version], kind: str, strategy: str, colour: str, marker: str
) -> None:
    """The points of one strategy, and segments between versions of the same runs."""
    means = {i: m for i, v in enumerate(versions) if (m := v.mean(kind, strategy)) is not None}
    if not means:
        return
    axes.plot(list(means), list(means.values()), marker, color=colour, markersize=4, label=strategy)
    for place, mean in means.items():
        old = before(versions, place)
        if old is not None and versions[place].same_runs(old, kind, strategy):
            start = next(i for i, version in enumerate(versions) if version is old)
            axes.plot([start, place], [means[start], mean], "-", color=colour, linewidth=1)
