"""Stored sessions made by hand: results.json and what the comparison of two of them says."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedcore import Scenario
from fedcore.harness.comparisons.comparison import compare_sides
from fedcore.harness.comparisons.document import document
from fedcore.harness.comparisons.read import read_side
from fedcore.harness.reports.rows import row
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome

HERE = "torch 2, this CPU, cpu"
ELSEWHERE = "torch 3, other CPU, cpu"
NOISE = Noise(2.2, 4.0)
BASE = Scenario(dataset="synthetic:1000", model="mlp", rounds=10)
NOVA = BASE.but(strategy="fednova")
STRATEGIES = ("fedavg", "fednova", "median", "krum")
ATTACKS: tuple[dict[str, Any], ...] = (
    {},
    {"attack": "labelflip", "malicious_fraction": 0.3, "poison_ratio": 1.0},
    {
        "attack": "targetedflip",
        "source_class": 1,
        "target_class": 7,
        "malicious_fraction": 0.5,
        "poison_ratio": 1.0,
    },
)
#: One row of results.json, and all of it.
Row = dict[str, Any]
Document = dict[str, Any]


def scenarios() -> list[Scenario]:
    """The cells of the session: four strategies, clean and under two attacks."""
    return [BASE.but(strategy=name, **attack) for name in STRATEGIES for attack in ATTACKS]


def value(scenario: Scenario, seed: int) -> float:
    """A tail accuracy in percent, an exact number, another for each run."""
    lost = {None: 0, "labelflip": 8, "targetedflip": 16}[scenario.attack]
    return 90.0 - lost - 2 * STRATEGIES.index(scenario.strategy) + 0.25 * (seed % 3)


def session(seeds: Sequence[int] = (0, 1, 2), machine: str | None = HERE) -> Document:
    """The content of a results.json with all `scenarios` on ``seeds``, made on ``machine``."""
    cells = json.loads(_rows(tuple(seeds)))
    code = {"commit": "c0ffee", "dirty": False, "code": "0123456789abcdef"}
    made = {"torch": "2.13.0", "device": "cpu", "data": {"synthetic:1000": "d0" * 8}}
    place = {} if machine is None else {"class": machine}
    return {
        "schema": 1,
        "date": "2026-01-01T00:00:00+00:00",
        "repeat": "pytest benchmark",
        **code,
        "provenance": {**code, **made, **place},
        "cells": cells,
        "overall": [],
        "costs": [],
        "noise": {"sd": NOISE.sd, "df": NOISE.df},
    }


@functools.cache
def _rows(seeds: tuple[int, ...]) -> str:
    return json.dumps([row(outcome(scenario, seeds)) for scenario in scenarios()])


def outcome(scenario: Scenario, seeds: Sequence[int]) -> Outcome:
    """What the session found of ``scenario``."""
    twin = scenario.clean_twin()
    attacked = scenario.attack is not None
    targeted = scenario.attack == "targetedflip"
    return Outcome(
        Cell(scenario.id, scenario, len(seeds)),
        tuple(seeds),
        clean=tuple(value(twin, seed) for seed in seeds),
        poisoned=tuple(value(scenario, seed) for seed in seeds) if attacked else (),
        asr=tuple(20.0 + seed for seed in seeds) if targeted else (),
        gates=(),
        errors=(),
        diverged=(),
        noise=NOISE,
    )


def moved(content: Document, change: Callable[[Row, str, int, float], float]) -> Document:
    """``content`` with ``change(row, metric, seed, value)`` in the place of each value."""
    content = copy.deepcopy(content)
    for cell in content["cells"]:
        for metric in ("clean", "poisoned", "asr"):
            values = cell["values"][metric]
            cell["values"][metric] = [
                change(cell, metric, seed, old)
                for seed, old in zip(cell["seeds"], values, strict=len(values) > 0)
            ]
    return content


def shifted(content: Document, points: float, strategy: str, attack: str | None = None) -> Document:
    """``content`` with the accuracies of ``strategy`` moved, of one ``attack`` alone if named."""

    def change(cell: Row, metric: str, seed: int, old: float) -> float:
        own = cell["labels"]["strategy"] == strategy and metric != "asr"
        named = metric == "poisoned" and cell["labels"]["attack"] == attack
        return old + points if own and (attack is None or named) else old

    return moved(content, change)


def stored(folder: Path, content: Document) -> Path:
    """``content`` as the results.json of ``folder``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def compared(folder: Path, a: Document, b: Document, **settings: Any) -> dict[str, Any]:
    """What the JSON of the comparison of ``a`` and ``b`` says, both written below ``folder``."""
    sides = [read_side(stored(folder / name, content)) for name, content in (("a", a), ("b", b))]
    return json.loads(json.dumps(document(compare_sides(*sides, **settings), "x"), allow_nan=False))


def found(content: dict[str, Any]) -> set[tuple[str, str]]:
    """(name, direction) of the tests that count."""
    return {(test["name"], test["direction"]) for test in content["tests"] if test["direction"]}
