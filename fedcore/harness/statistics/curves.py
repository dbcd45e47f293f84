"""Curves: accuracy over the rounds of a run, and what a single number says of it.

A level at one horizon says which arm was ahead there. The round in which an arm reaches a level,
and the area below its curve, say how it got there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.records.record import TAIL_SHARE, tail_mean

#: Share of the clean level whose round is reported.
LEVEL_SHARE = 0.9


class Scored(Protocol):
    """What is read of a record: evaluated rounds from 1, rising, and an accuracy in each."""

    @property
    def rounds(self) -> Sequence[int]:
        """The evaluated rounds."""

    @property
    def accuracy(self) -> Sequence[float]:
        """The accuracy in each of them, in [0, 1]."""


def tail_length(count: int) -> int:
    """How many of ``count`` evaluated rounds `tail_mean` is over: 30 %, rounded up, at least 1."""
    return max(1, math.ceil(TAIL_SHARE * count - 1e-9))


def until(record: Scored, horizon: int | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The evaluated rounds up to ``horizon`` and the accuracy in each; None takes all.

    ValueError where ``record`` ends before ``horizon`` or has no evaluated round up to there.
    """
    last = record.rounds[-1] if len(record.rounds) else 0
    end = last if horizon is None else horizon
    count = sum(round <= end for round in record.rounds)
    if end > last or not count:
        raise ValueError(
            f"a horizon of {end} rounds needs evaluated rounds up to there, the run has "
            f"{len(record.rounds)}, the last one {last}: train for as many rounds, or name fewer"
        )
    return tuple(record.rounds[:count]), tuple(record.accuracy[:count])


def level_at(record: Scored, horizon: int | None = None) -> float:
    """The tail accuracy, in [0, 1], that ``record`` had after its first ``horizon`` rounds.

    Mean over the last 30 % of the rounds evaluated up to there (`record.tail_mean`), so that it is
    the `Record.tail_accuracy` of a run of ``horizon`` rounds, if every round is evaluated and
    nothing in the scenario looks ahead to its last round. ValueError as of `until`.
    """
    return tail_mean(until(record, horizon)[1])


def rounds_to(record: Scored, level: float, horizon: int | None = None) -> float | None:
    """The first round, as a number of rounds, in which ``record`` has an accuracy of ``level``.

    Straight lines join the evaluated rounds. Where the first evaluated round has reached the level,
    it is that round: what came before was not measured. None where the level is not reached up to
    ``horizon``: the number is then censored, larger than the horizon. ValueError as of `until`.
    """
    rounds, accuracy = until(record, horizon)
    if accuracy[0] >= level:
        return float(rounds[0])
    for place in range(1, len(rounds)):
        before, now = accuracy[place - 1], accuracy[place]
        if now >= level:
            way = (level - before) / (now - before)
            return rounds[place - 1] + way * (rounds[place] - rounds[place - 1])
    return None


def area(record: Scored, horizon: int | None = None) -> float:
    """The mean accuracy over the rounds from 1 to ``horizon``, in [0, 1].

    Each round has the accuracy of the next evaluated one; where all are evaluated, that is the
    plain mean. Divided by nothing but the rounds: 1 is an arm that makes no error from the first
    round on. ValueError as of `until`.
    """
    rounds, accuracy = until(record, horizon)
    starts = (0, *rounds[:-1])
    parts = ((r - s) * a for r, s, a in zip(rounds, starts, accuracy, strict=True))
    return math.fsum(parts) / rounds[-1]


@dataclass(frozen=True)
class Reached:
    """Rounds to a level by seed, None where it is not reached by ``horizon`` (censored).

    ``median`` over the seeds counts a censored one as later than all others; None where that makes
    it unknown. There is no mean: one censored seed leaves it without a value.
    """

    horizon: int
    values: tuple[float | None, ...]

    @property
    def censored(self) -> int:
        """Seeds that did not get there."""
        return sum(value is None for value in self.values)

    @property
    def median(self) -> float | None:
        """The median of ``values``, of an even number the mean of the middle two."""
        found = statistics.median(math.inf if v is None else v for v in self.values)
        return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Curve:
    """Mean over seeds by evaluated round, and its band [low, high]; in percent.

    The band is of each round on its own, at ``confidence``: of many rounds some are outside. None
    where single seeds give no interval.
    """

    rounds: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    confidence: float


def curve(records: Sequence[Scored], noise: Noise, confidence: float = 0.9) -> Curve:
    """The curve of an arm over the seeds of ``records``.

    The interval of each round is `estimates.estimate`'s. ValueError without records, or for records
    that were evaluated in different rounds.
    """
    if not records:
        raise ValueError("a curve needs the record of one seed at least")
    rounds = tuple(records[0].rounds)
    if any(tuple(record.rounds) != rounds for record in records):
        raise ValueError("records of one curve must be evaluated in the same rounds")
    columns = [
        [100 * a for a in column] for column in zip(*(r.accuracy for r in records), strict=True)
    ]
    mean = tuple(math.fsum(column) / len(column) for column in columns)
    if noise.df + len(records) <= 1:
        return Curve(rounds, mean, None, None, confidence)
    found = [estimate(column, noise, confidence) for column in columns]
    low, high = tuple(e.low for e in found), tuple(e.high for e in found)
    return Curve(rounds, mean, low, high, confidence)
