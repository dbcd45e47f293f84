"""One line per strategy: what attacks cost it over all of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedcore.harness.bootstrap import mean_over_cells
from fedcore.harness.rows import Row

METRICS = ("clean", "poisoned", "drop")


def overall(cells: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over the attacked ``cells`` of each strategy, with intervals over seed blocks.

    Cells that the suite sets apart from its base (another model, ...) are groups of their own.
    Keys: strategy, note, cells (ids), seeds, and by metric what `CellMean` holds. The seeds are
    those that all cells of the group share; a group without any is left out, as are cells with
    errors. Accuracies in percent, drops in percentage points.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for cell in cells:
        if cell["values"]["drop"] and not cell["errors"]:
            key = (cell["labels"]["strategy"], cell["labels"]["note"])
            groups.setdefault(key, []).append(cell)
    found = []
    for (strategy, note), members in groups.items():
        seeds = sorted(set.intersection(*(set(cell["seeds"]) for cell in members)))
        if not seeds:
            continue
        line: dict[str, Any] = {
            "strategy": strategy,
            "note": note,
            "cells": [cell["id"] for cell in members],
            "seeds": seeds,
        }
        for metric in METRICS:
            values = [
                [cell["values"][metric][cell["seeds"].index(seed)] for cell in members]
                for seed in seeds
            ]
            line[metric] = dataclasses.asdict(mean_over_cells(np.array(values)))
        found.append(line)
    return found


def same_cells(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all ``lines`` are over the same partitions and attacks, so that they compare."""
    kinds = {
        (line["note"], tuple(sorted(name.partition("-")[2] for name in line["cells"])))
        for line in lines
    }
    return len(kinds) <= 1
