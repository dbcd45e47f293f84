"""Simultaneous intervals: all contrasts of a claim hold their true values at once.

The unit is a seed block. Contrasts of one claim share arms and seeds, so that they are
correlated; max-t uses that, where Bonferroni's correction would pay for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from fedcore.harness.statistics.bootstrap import FEWEST_FOR_BOOTSTRAP, RESAMPLES, Values
from fedcore.streams import Purpose, stream

FAMILY_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Intervals:
    """``mean``, ``low`` and ``high`` per contrast, [contrasts], in the unit of the values.

    ``critical`` is the multiple of the standard error, ``method`` says where it comes from:
    "max-t", "Bonferroni-t" or "none" (a single seed: the intervals are infinite).
    """

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    critical: float
    method: str
    confidence: float
    seeds: int


def simultaneous(values: Values, confidence: float = FAMILY_CONFIDENCE) -> Intervals:
    """Two-sided intervals around the column means of ``values`` [seeds, contrasts].

    All of them cover their true means at once with probability ``confidence``. mean_k +- c s_k /
    sqrt(n), c the quantile of max_k |t*_k| over bootstrap resamples of whole seed blocks, each
    studentised by its own standard error (Romano and Wolf 2005; Efron and Tibshirani 1993, section
    12.5), from one fixed random stream, and at least Student's t for one contrast. With 10 seeds c
    is somewhat above Bonferroni's t, which is the price for data that are skewed: there the latter
    covers far too seldom. Fewer than `FEWEST_FOR_BOOTSTRAP` seeds take Bonferroni's t all the same.
    A contrast without any spread has an interval of length 0. ValueError for no values or values
    that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"finite values of [seeds, contrasts] are needed, got {values.shape}")
    n, contrasts = values.shape
    mean = values.mean(axis=0)
    if n == 1:
        endless = (math.inf,) * contrasts
        below = (-math.inf,) * contrasts
        return Intervals(_floats(mean), below, endless, math.inf, "none", confidence, n)
    deviation = values.std(axis=0, ddof=1)
    # summation noise of equal values is no spread
    deviation[deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))] = 0.0
    tail = 1 - confidence
    critical, method = float(stdtrit(n - 1, 1 - tail / (2 * contrasts))), "Bonferroni-t"
    varying = deviation > 0
    if n >= FEWEST_FOR_BOOTSTRAP and varying.any():
        single = float(stdtrit(n - 1, 1 - tail / 2))
        scaled = (values[:, varying] - mean[varying]) / deviation[varying]
        critical = max(max_t(scaled, confidence), single)
        method = "max-t"
    reach = critical * deviation / math.sqrt(n)
    return Intervals(
        _floats(mean),
        _floats(mean - reach),
        _floats(mean + reach),
        critical,
        method,
        confidence,
        n,
    )


def max_t(scaled: Values, confidence: float = FAMILY_CONFIDENCE) -> float:
    """The ``confidence`` quantile of max_k |t*_k| for columns of mean 0 and deviation 1.

    May be infinite: a resample of one seed alone has no spread.
    """
    n = len(scaled)
    times = stream(0, Purpose.BOOTSTRAP).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    mean = times @ scaled / n
    variance = (times @ scaled**2 - n * mean**2) / (n - 1)
    spread = np.sqrt(np.where(variance > 1e-12, variance, 0.0) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(np.abs(mean) / spread, nan=0.0, posinf=np.inf)
    return float(np.quantile(t.max(axis=1), confidence, method="higher"))


def _floats(values: Values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
