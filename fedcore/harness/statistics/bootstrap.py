"""Intervals of a mean over cells, by resampling whole seed blocks.

All cells of a suite share their seeds, and with them partition, weights, cohorts and malicious
set: what is lucky for one cell is lucky for others. A resample therefore takes whole seeds, every
cell of each, and so holds every cell equally often (stratified by cell). Drawing seeds anew within
each cell, as rliable does within each task (Agarwal et al. 2021, "Deep Reinforcement Learning at
the Edge of the Statistical Precipice"), breaks the pairing and calls a mean over
cells that move together far too sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from fedcore.streams import Purpose, stream

Values = npt.NDArray[np.float64]

MEAN_CONFIDENCE = 0.9
RESAMPLES = 10_000
#: With fewer seeds a resample has too few distinct ones, and Student's t takes over (Bonferroni's
#: of it for several contrasts).
FEWEST_FOR_BOOTSTRAP = 6
# the second stream of this purpose: the first belonged to the intervals of claims
_SEED = 1


@dataclass(frozen=True)
class CellMean:
    """A mean over ``cells`` and ``seeds`` with its two-sided interval at ``confidence``.

    ``method`` is "bootstrap", "t" or "none" (a single seed: ``low`` and ``high`` are None).
    """

    mean: float
    low: float | None
    high: float | None
    confidence: float
    method: str
    cells: int
    seeds: int


def mean_over_cells(values: Values, confidence: float = MEAN_CONFIDENCE) -> CellMean:
    """The mean of ``values`` [seeds, cells] with an interval over seed blocks.

    From `FEWEST_FOR_BOOTSTRAP` seeds on percentiles of `RESAMPLES` resamples, from one fixed random
    stream, at the levels of `expanded`; with fewer Student's t over the means of the blocks.
    ValueError for no values or values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"finite values of [seeds, cells] are needed, got {values.shape}")
    seeds, cells = values.shape
    blocks = values.mean(axis=1)
    mean = float(blocks.mean())
    if seeds == 1:
        return CellMean(mean, None, None, confidence, "none", cells, seeds)
    if seeds < FEWEST_FOR_BOOTSTRAP:
        reach = float(stdtrit(seeds - 1, (1 + confidence) / 2))
        reach *= float(blocks.std(ddof=1)) / math.sqrt(seeds)
        return CellMean(mean, mean - reach, mean + reach, confidence, "t", cells, seeds)
    means = resampled_means(blocks)
    tail = (1 - expanded(confidence, seeds)) / 2
    low, high = (float(edge) for edge in np.quantile(means, [tail, 1 - tail]))
    return CellMean(mean, low, high, confidence, "bootstrap", cells, seeds)


def resampled_means(blocks: Values) -> Values:
    """Means of `RESAMPLES` resamples of ``blocks`` [seeds]: each seed as often as it is drawn."""
    n = len(blocks)
    times = stream(_SEED, Purpose.BOOTSTRAP).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return np.asarray(times @ blocks / n)


def expanded(confidence: float, n: int) -> float:
    """The level whose percentiles are as wide for ``n`` values as Student's interval.

    1 - 2 Phi(-sqrt(n / (n - 1)) t): the bootstrap's variance is (n - 1) / n of the unbiased one,
    and its percentiles know of no t (Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", the expanded percentile interval).
    """
    t = float(stdtrit(n - 1, (1 + confidence) / 2))
    return 1 - 2 * float(ndtr(-math.sqrt(n / (n - 1)) * t))
