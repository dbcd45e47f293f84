"""Repeated intervals: of each contrast of a claim, and of all at once, valid at every look.

The unit is a seed block: a value is a contrast of arms within one seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import nctdtr, stdtrit

from fedcore.harness.statistics.looks import ERROR, LOOKS, level

Values = npt.NDArray[np.float64]
Span = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """By contrast the ``mean``, its own interval (``each``), and that beside all (``together``).

    In the unit of the values. ``level`` is the two-sided level of ``each`` at this look; ``sd`` the
    deviation between seeds (0 for a single one). Both kinds are endless for a single seed.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    each: tuple[Span, ...]
    together: tuple[Span, ...]
    level: float
    seeds: int

    @property
    def confidence(self) -> float:
        """That of an interval over all looks together."""
        return 1 - ERROR


def simultaneous(values: Values, look: int, family: int | None = None) -> Intervals:
    """Two-sided Student intervals around the column means of ``values`` [seeds, contrasts].

    A repeated interval (Jennison and Turnbull 1989): the true mean lies within ``each`` at all
    `looks.LOOKS` with probability 1 - `looks.ERROR`, all true means within ``together`` at all
    looks with at least that (Bonferroni over ``family`` contrasts, by default all), for normal
    values. ``look`` is the look at hand; with fewer seeds than that the intervals are shown only,
    at the level of this look. A column without any spread has an interval of length 0. ValueError
    for no values or values that are not finite, or where ``look`` is none.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"finite values of [seeds, contrasts] are needed, got {values.shape}")
    n, contrasts = values.shape
    error = level(look)
    mean = values.mean(axis=0)
    if n == 1:
        endless = ((-math.inf, math.inf),) * contrasts
        return Intervals(_floats(mean), (0.0,) * contrasts, endless, endless, error, n)
    deviation = values.std(axis=0, ddof=1)
    # summation noise of equal values is no spread
    deviation[deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))] = 0.0
    unit = deviation / math.sqrt(n)

    def spans(error: float) -> tuple[Span, ...]:
        reach = float(stdtrit(n - 1, 1 - error / 2)) * unit
        return tuple(zip(_floats(mean - reach), _floats(mean + reach), strict=True))

    together = spans(error / (family or contrasts))
    return Intervals(_floats(mean), _floats(deviation), spans(error), together, error, n)


def seeds_needed(sd: float, distance: float, power: float = 0.8) -> int:
    """Seeds after which a mean ``distance`` from its margin is told from it with ``power``.

    The first look whose interval is that short, or, beyond the last one, the least number at the
    level of that: power by the noncentral t distribution. ``sd`` between seeds and ``distance`` in
    one unit. ValueError unless distance > 0 and sd >= 0.
    """
    if not distance > 0 or sd < 0:
        raise ValueError(f"distance must be > 0 and sd >= 0, got {distance:g} and {sd:g}")
    for look in LOOKS:
        if _told(look, sd, distance, level(look), power):
            return look
    last, error = LOOKS[-1], level(LOOKS[-1])
    upper = 2 * last
    while not _told(upper, sd, distance, error, power):
        upper *= 2
    lower = upper // 2
    while upper - lower > 1:
        middle = (lower + upper) // 2
        if _told(middle, sd, distance, error, power):
            upper = middle
        else:
            lower = middle
    return upper


def _told(n: int, sd: float, distance: float, error: float, power: float) -> bool:
    if sd == 0 or distance * math.sqrt(n) > 40 * sd:  # beyond what the function below can do
        return True
    shift = distance * math.sqrt(n) / sd
    return bool(nctdtr(n - 1, shift, stdtrit(n - 1, 1 - error / 2)) <= 1 - power)


def _floats(values: Values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
