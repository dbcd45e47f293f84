"""Ranks of arms with intervals, by resampling whole seed blocks: ties are shown as ties.

All arms of a seed share partition, weights, cohorts and malicious set, so that a resample takes a
seed for all arms at once. Percentiles of a few seeds are too narrow: deviations of the resampled
means are widened to those of Student's t (`widening`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from fedcore.harness.statistics.bootstrap import RESAMPLES, Values
from fedcore.streams import Purpose, stream

RANK_CONFIDENCE = 0.9
#: Up to this number of seeds every resample is taken, with its probability.
EXACT_SEEDS = 7
#: Means that differ by less, in the unit of the values, are equal: a tie.
EQUAL = 1e-9
# the third stream of this purpose: `simultaneous` and `bootstrap` have the others
_SEED = 2

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Worst:
    """The worst column of an arm: ``mean`` and interval [low, high], and which ``columns``.

    ``columns`` are the indices that are worst in at least 5 % of the resamples (by weight), the
    worst of the observed means first. ``low`` and ``high`` are None for a single seed.
    """

    mean: float
    low: float | None
    high: float | None
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Rank:
    """The interval of an arm's rank, 1 the best; a tie of arms takes all of its places."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


@dataclass(frozen=True)
class Resampled:
    """``means`` [resamples, ...] of resampled seed blocks, and the ``weights`` of the resamples.

    The deviations from the observed means are those of Student's t, so that percentiles are
    intervals.
    """

    means: Values
    weights: Weights

    def quantiles(self, values: Values, confidence: float) -> tuple[float, float]:
        """The two-sided interval of a statistic whose ``values`` [resamples] these are."""
        tail = (1 - confidence) / 2
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(self.weights[order])
        low = order[int(np.searchsorted(reached, tail + 1e-12, side="right"))]
        last = len(order) - 1
        # from above: the least value that at most the tail's weight lies beyond
        high = order[min(int(np.searchsorted(reached, 1 - tail - 1e-12)), last)]
        return float(values[low]), float(values[high])


def resample(values: Values, confidence: float = RANK_CONFIDENCE) -> Resampled:
    """Resampled means of ``values`` [seeds, ...], a seed for all arms at once.

    Up to `EXACT_SEEDS` seeds all resamples, each with its probability; with more `RESAMPLES` from
    one fixed stream. The order of the seeds does not matter. ValueError for no values or values
    that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"finite values of [seeds, arms, ...] are needed, got {values.shape}")
    n = len(values)
    flat = np.sort(values.reshape(n, -1), axis=1)
    values = values[np.lexsort(flat.T[::-1])]
    centre = values.mean(axis=0)
    counts, weights = _all_counts(n) if n <= EXACT_SEEDS else _drawn_counts(n)
    means = np.tensordot(counts / n, values - centre, axes=1)
    return Resampled(centre + widening(confidence, n) * means, weights)


def widening(confidence: float, n: int) -> float:
    """What a resampled mean's deviation is multiplied by: sqrt(n / (n - 1)) t / z; 1 for one seed.

    The variance of a resampled mean is (n - 1) / n of the unbiased one, and its percentiles know of
    no t: as `bootstrap.expanded`, for any statistic of the means.
    """
    if n == 1:
        return 1.0
    level = (1 + confidence) / 2
    return math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, level) / ndtri(level))


def ranks(values: Values, confidence: float = RANK_CONFIDENCE) -> tuple[Rank, ...]:
    """The rank of each arm of ``values`` [seeds, arms] or [seeds, arms, columns], the best first.

    The figure that is ranked is the mean over the seeds, higher is better; with columns the least
    of an arm's means, which is sought anew in every resample. Each interval holds at
    ``confidence`` on its own. A single seed says nothing about an order: every arm has all ranks.
    """
    values = np.asarray(values, dtype=np.float64)
    drawn = resample(values, confidence)
    if len(values) == 1:
        return tuple(Rank(1, values.shape[1]) for _ in range(values.shape[1]))
    figures = drawn.means if drawn.means.ndim == 2 else drawn.means.min(axis=2)
    gaps = figures[:, None, :] - figures[:, :, None]  # [resample, arm, other]: other's lead
    best = 1 + (gaps > EQUAL).sum(axis=2)
    last = (gaps >= -EQUAL).sum(axis=2)
    return tuple(
        Rank(
            int(drawn.quantiles(best[:, arm].astype(np.float64), confidence)[0]),
            int(drawn.quantiles(last[:, arm].astype(np.float64), confidence)[1]),
        )
        for arm in range(figures.shape[1])
    )


def worst_columns(values: Values, confidence: float = RANK_CONFIDENCE) -> tuple[Worst, ...]:
    """For each arm of ``values`` [seeds, arms, columns] its least mean over the columns.

    Which column that is is sought anew in every resample, so that doubt about it is in the
    interval.
    """
    values = np.asarray(values, dtype=np.float64)
    drawn = resample(values, confidence)
    observed = values.mean(axis=0)
    return tuple(
        _worst(drawn, observed[arm], arm, len(values), confidence) for arm in range(values.shape[1])
    )


def _worst(drawn: Resampled, observed: Values, arm: int, seeds: int, confidence: float) -> Worst:
    least = drawn.means[:, arm].min(axis=1)
    shares = drawn.weights @ (drawn.means[:, arm] <= least[:, None] + EQUAL)
    first = int(np.argmin(observed))
    others = [c for c in np.argsort(observed, kind="stable").tolist() if c != first]
    columns = (first, *(c for c in others if shares[c] >= 0.05))
    if seeds == 1:
        return Worst(float(observed[first]), None, None, columns)
    low, high = drawn.quantiles(least, confidence)
    return Worst(float(observed[first]), low, high, columns)


@cache
def _all_counts(n: int) -> tuple[Weights, Weights]:
    """How often each of ``n`` seeds is in a resample, [resamples, n], and its probability."""
    counts = [
        [chosen.count(seed) for seed in range(n)]
        for chosen in itertools.combinations_with_replacement(range(n), n)
    ]
    weights = [_probability(row) for row in counts]
    return np.array(counts, dtype=np.float64), np.array(weights)


def _probability(counts: Sequence[int]) -> float:
    n = len(counts)
    return float(math.factorial(n) / math.prod(map(math.factorial, counts)) / n**n)


@cache
def _drawn_counts(n: int) -> tuple[Weights, Weights]:
    counts = stream(_SEED, Purpose.BOOTSTRAP).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return counts.astype(np.float64), np.full(RESAMPLES, 1 / RESAMPLES)
