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
from fedcore.strategies.aggregation import Aggregation


@dataclass(frozen=True)
class Exposure:
    """Malicious clients in the cohorts of all rounds and seeds.

    ``rounds`` counts them all, ``above`` those with more than ``declared``, which is what the
    defence is told to withstand, or what its rule is made for (of the largest cohort, where clients
    drop out).
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


def exposure_of(
    records: Iterable[Record], declared: int, by_cohort: Sequence[int] | None = None
) -> Exposure | None:
    """How many malicious clients took part in the rounds of ``records``; None without rounds.

    ``by_cohort`` has the number that is withstood at each size of a cohort, where that is not
    ``declared`` whatever the size.
    """
    counts: list[int] = []
    above = 0
    for record in records:
        counts += record.audit.malicious_per_round
        limits = [declared] * len(record.audit.malicious_per_round)
        if by_cohort is not None:
            limits = [by_cohort[len(cohort)] for cohort in record.audit.cohorts]
        pairs = zip(record.audit.malicious_per_round, limits, strict=True)
        above += sum(count > limit for count, limit in pairs)
    if not counts:
        return None
    mean = math.fsum(counts) / len(counts)
    return Exposure(declared, min(counts), mean, max(counts), len(counts), above)


def assumption_of(scenario: Scenario, records: Iterable[Record]) -> Exposure | None:
    """Whom the cohorts of ``records`` held, against what the rule of ``scenario`` is made for.

    None for a rule, and a chain in front of it, without such a number, and without rounds.
    """
    aggregation = Aggregation.of(scenario, 0)
    most = aggregation.withstands(scenario.cohort_size)
    if most is None:
        return None
    sizes = range(1, scenario.cohort_size + 1)
    return exposure_of(records, most, [0, *(aggregation.withstands(n) or 0 for n in sizes)])


def expected_above(scenario: Scenario, declared: int) -> float | None:
    """The probability that a cohort of ``scenario`` holds more than ``declared`` malicious clients.

    Hypergeometric: a cohort is drawn without replacement from clients that all have samples. None
    where clients drop out.
    """
    if scenario.absent_fraction is not None:
        return None
    clients, malicious = scenario.num_clients, scenario.num_malicious
    size = scenario.cohort_size
    ways = (
        math.comb(malicious, count) * math.comb(clients - malicious, size - count)
        for count in range(declared + 1, min(malicious, size) + 1)
    )
    return sum(ways) / math.comb(clients, size)


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
