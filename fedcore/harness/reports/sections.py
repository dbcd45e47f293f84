"""Sections of a report that say more than its results do: standings, the history of a baseline."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tabulate import tabulate

from fedcore.harness.reports.narrow import NARROW, WIDTH
from fedcore.harness.reports.summaries import Columns


@dataclass(frozen=True)
class Section:
    """A table with its ``legend``, and a ``figure`` as PNG that is kept as figures/``file``."""

    title: str
    columns: Columns
    legend: str
    figure: bytes | None = None
    file: str = ""

    @property
    def heading(self) -> str:
        """The title as a heading."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def path(self) -> str:
        """Where the figure is kept, from the directory of the report."""
        return f"figures/{self.file}"

    def text(self) -> str:
        """Table and legend for the terminal."""
        lines = [f"{self.title}:"]
        if any(self.columns.values()):
            shown = {name: [name, *values] for name, values in self.columns.items()}
            align = ["left" if name in ("arm", "strategy") else "right" for name in shown]
            drawn = tabulate(
                shown, tablefmt=NARROW, disable_numparse=True, missingval="-", colalign=align
            )
            lines += [line.rstrip() for line in str(drawn).splitlines()]
        return "\n".join([*lines, *textwrap.wrap(self.legend, WIDTH, break_on_hyphens=False)])
