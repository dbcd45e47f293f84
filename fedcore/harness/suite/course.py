"""The course of a cell's runs: does the arm still rise, and whom did its cohorts hold?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedcore.harness.statistics.convergence import Progress, progress, trend
from fedcore.harness.statistics.curves import tail_length
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Exposure:
    """Malicious clients in the cohorts of all rounds and seeds.

    ``rounds`` counts them all, ``above`` those with more than ``declared``, which is what the
    defence is told to withstand.
    """

    declared: int
    least: int
    mean: float
    most: int
    rounds: int
    above: int


@dataclass(frozen=True)
class Course:
    """``clean`` and ``attacked``: the progress of the two arms over their tails.

    None where the tail has too few rounds for a slope, or the arm does not exist. ``exposure`` is
    None for a clean cell, and where no number was declared.
    """

    clean: Progress | None
    attacked: Progress | None
    exposure: Exposure | None


def course_of(
    scenario: Scenario, declared: int | None, seeds: Sequence[int], records: Mapping[Run, Record]
) -> Course:
    """The course of the runs of ``scenario`` and its clean twin on ``seeds``.

    ``declared`` is what a defence in a matrix is told to withstand.
    """
    calm = [records[Run(scenario.clean_twin(), seed)] for seed in seeds]
    if scenario.attack is None:
        return Course(_progress(calm), None, None)
    struck = [records[Run(scenario, seed)] for seed in seeds]
    exposure = None if declared is None else exposure_of(struck, declared)
    return Course(_progress(calm), _progress(struck), exposure)


def exposure_of(records: Iterable[Record], declared: int) -> Exposure | None:
    """How many malicious clients took part in the rounds of ``records``; None without rounds."""
    counts = [count for record in records for count in record.audit.malicious_per_round]
    if not counts:
        return None
    mean = math.fsum(counts) / len(counts)
    above = sum(count > declared for count in counts)
    return Exposure(declared, min(counts), mean, max(counts), len(counts), above)


def _progress(records: Sequence[Record]) -> Progress | None:
    """Of the tails, the last 30 % of the evaluated rounds: what the tail accuracy is a mean of."""
    trends = []
    for record in records:
        count = tail_length(len(record.rounds))
        line = trend(record.rounds[-count:], [100 * a for a in record.accuracy[-count:]])
        if line is None:
            return None
        trends.append(line)
    return progress(trends)
