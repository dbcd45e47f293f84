"""One line per strategy: what attacks cost it over all of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedcore.harness.reports.horizons import unsettled
from fedcore.harness.reports.rows import Row
from fedcore.harness.statistics.bootstrap import mean_over_cells
from fedcore.scenario import Scenario, naming, validation

#: Fields and values, those of no partition and no attack.
Setting = tuple[tuple[str, Any], ...]

COMPARED = ("clean", "poisoned", "drop")

#: Fields in which the cells of one line may differ, beside the parameters of both components.
_VARIED = {"partition", "partition_seed", "allow_incomplete", "attack", *naming.SHARES}
#: Further fields in which strategies may that are compared line by line: what is tuned for each.
_OWN = {"strategy", "strategy_spec", "client_mods", "optimizer", "lr", "norm"}


def overall(cells: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over the attacked ``cells`` of each strategy, with intervals over seed blocks.

    A line is over cells that share everything but partition and attack; each scenario counts once,
    on most seeds, and only if its arms have converged (`left_out` has the others). Cells that the
    suite sets apart from its base (another model, ...) are lines of their own. Keys: strategy, note
    (with what tells lines of one strategy apart), cells (ids), seeds, setting (the fields that all
    share, but for what is tuned for each strategy), and by metric what `CellMean` holds. The seeds
    are those that all cells of the line share; a line without any is left out, as are cells with
    errors. Accuracies in percent, drops in percentage points.
    """
    groups: dict[tuple[str, str], dict[Setting, dict[str, Row]]] = {}
    for cell in _attacked(cells):
        if unsettled(cell) is None:
            key = (cell["labels"]["strategy"], cell["labels"]["note"])
            setting = setting_of(cell["scenario"])
            groups.setdefault(key, {}).setdefault(setting, {})[cell["hash"]] = cell
    return [
        _line(strategy, name, setting, list(members.values()))
        for (strategy, note), settings in groups.items()
        for (setting, members), name in zip(settings.items(), _notes(note, settings), strict=True)
        if _common_seeds(members.values())
    ]


def left_out(cells: Sequence[Row]) -> list[dict[str, Any]]:
    """The attacked ``cells`` of which no mean is made, as an arm has not converged.

    Keys: id, rounds (the horizon), reason.
    """
    return [
        {"id": cell["id"], "rounds": cell["scenario"]["rounds"], "reason": reason}
        for cell in _attacked(cells)
        if (reason := unsettled(cell)) is not None
    ]


def _attacked(cells: Sequence[Row]) -> list[Row]:
    """The attacked cells without errors; each scenario once, on most seeds."""
    found: dict[str, Row] = {}
    for cell in cells:
        if cell["values"]["drop"] and not cell["errors"]:
            known = found.get(cell["hash"])
            if known is None or len(cell["seeds"]) >= len(known["seeds"]):
                found[cell["hash"]] = cell
    return list(found.values())


def same_cells(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all ``lines`` are over the same partitions and attacks, so that they compare."""
    kinds = [
        (
            line["note"],
            sorted(name.partition("-")[2] for name in line["cells"]),
            line.get("setting"),
        )
        for line in lines
    ]
    return all(kind == kinds[0] for kind in kinds)


def _line(strategy: str, note: str, setting: Setting, members: Sequence[Row]) -> dict[str, Any]:
    seeds = _common_seeds(members)
    own = own_fields()
    line: dict[str, Any] = {
        "strategy": strategy,
        "note": note,
        "cells": [cell["id"] for cell in members],
        "seeds": seeds,
        "setting": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in setting
            if name not in own and value is not None
        },
    }
    for metric in COMPARED:
        values = [
            [cell["values"][metric][cell["seeds"].index(seed)] for cell in members]
            for seed in seeds
        ]
        line[metric] = dataclasses.asdict(mean_over_cells(np.array(values)))
    return line


def own_fields() -> set[str]:
    """The fields in which strategies that are compared may differ: what is tuned for each."""
    return _OWN | _parameters("strategy", "optimizer")


def _common_seeds(members: Iterable[Row]) -> list[int]:
    return sorted(set.intersection(*(set(cell["seeds"]) for cell in members)))


def setting_of(scenario: Mapping[str, Any]) -> Setting:
    """The fields of a stored ``scenario`` that no partition or attack is about."""
    varied = _VARIED | _parameters("partition", "attack")
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in scenario.items()
        if name not in varied
    )


def _notes(note: str, settings: Iterable[Setting]) -> list[str]:
    """``note`` for each of ``settings``, with the fields in which these differ."""
    fields = [dict(setting) for setting in settings]
    specs = Scenario.specs()
    names = [n for n in specs if len({one.get(n) for one in fields}) > 1]
    return [
        "-".join(filter(None, (note, *(naming.field_token(n, one.get(n), specs) for n in names))))
        for one in fields
    ]


def _parameters(*kinds: str) -> set[str]:
    registries = validation.registries()
    entries = (registries[kind].entry(name) for kind in kinds for name in registries[kind])
    return {name for entry in entries for name in entry.parameters}
