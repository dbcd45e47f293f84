"""The learning of a cell's arms: their curves, rounds to a level, and areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcore.harness.statistics.curves import (
    LEVEL_SHARE,
    Curve,
    Reached,
    area,
    curve,
    level_at,
    rounds_to,
)
from fedcore.harness.statistics.estimates import Noise
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Learning:
    """How one arm learned: its ``curve``, rounds to the level, and ``area`` by seed in percent."""

    curve: Curve
    reached: Reached
    area: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """The clean twin and the attacked arm, None without an attack.

    Both are timed to the same ``level``, by seed in percent: `LEVEL_SHARE` of the clean twin's tail
    accuracy.
    """

    level: tuple[float, ...]
    clean: Learning
    attacked: Learning | None


def curves_of(
    scenario: Scenario, seeds: Sequence[int], records: Mapping[Run, Record], noise: Noise
) -> Curves:
    """The curves of ``scenario`` and its clean twin over ``seeds``."""
    calm = [records[Run(scenario.clean_twin(), seed)] for seed in seeds]
    struck = [records[Run(scenario, seed)] for seed in seeds]
    levels = [LEVEL_SHARE * level_at(record) for record in calm]
    attacked = None if scenario.attack is None else _learning(struck, levels, noise)
    return Curves(tuple(100 * v for v in levels), _learning(calm, levels, noise), attacked)


def _learning(records: Sequence[Record], levels: Sequence[float], noise: Noise) -> Learning:
    reached = (rounds_to(record, level) for record, level in zip(records, levels, strict=True))
    return Learning(
        curve(records, noise),
        Reached(records[0].rounds[-1], tuple(reached)),
        tuple(100 * area(record) for record in records),
    )
