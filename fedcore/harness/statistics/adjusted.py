"""A second estimate of a mean over seeds: adjusted for covariates, with fitted weights (ANCOVA).

To subtract the clean twin gives it the weight 1, whatever it is worth. A weight that is fitted is
never worse than either subtraction or leaving the twin out, but for what it costs to fit it.

What the adjusted mean estimates depends on where a covariate's target comes from, and no more is
claimed here:

- a *known* target (nominal exposure, a matter of design): the mean at that value of the covariate.
  It is another quantity than the plain mean, which is the mean at whatever exposure the cohorts
  happened to have, and its interval holds over new seeds, too.
- the mean over *the seeds at hand* (clean accuracy, whose expectation nobody knows): the point
  estimate is then the plain mean, as a regression goes through the mean of its points. The interval
  is narrower as it is conditional: it is of the mean over federations whose clean twins are as
  accurate, on average, as these. It serves comparisons between arms of the same seeds, which share
  the twins' luck. For a statement on new seeds the plain interval is the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

#: Spread of a covariate, as a share of its size, below which it is constant up to rounding.
_CONSTANT = 1e-9
#: Condition number of the standardised covariates above which they say the same.
_COLLINEAR = 1e6


@dataclass(frozen=True)
class Covariate:
    """What is known of each seed beside its value, and the ``target`` to adjust to."""

    name: str
    values: tuple[float, ...]
    target: float


@dataclass(frozen=True)
class Adjusted:
    """A mean at the covariates' targets, with its two-sided interval at ``confidence``.

    ``coefficients`` and ``targets`` are by the name of each covariate that was fitted, and
    ``constant`` names those that were not, as no seed differs in them. ``df`` are the residual
    degrees of freedom. ``gain`` is the squared standard error over the plain mean's: below 1 the
    adjustment paid, above 1 it cost more than it explained.
    """

    mean: float
    low: float
    high: float
    confidence: float
    seeds: int
    df: int
    coefficients: dict[str, float]
    targets: dict[str, float]
    constant: tuple[str, ...]
    gain: float


def least_seeds(covariates: int) -> int:
    """The fewest seeds on which ``covariates`` are fitted: as many and 3.

    With normal covariates a fit multiplies the variance by (n - 2) / (n - k - 2) on average
    (Lavenberg and Welch 1981, "A Perspective on the Use of Control Variables"): finite
    from n = k + 3 on. At 5 seeds and 2 covariates that is 3, at 10 seeds 1.33, at 20 seeds 1.13.
    """
    return covariates + 3


def adjusted(
    values: Sequence[float], covariates: Sequence[Covariate], confidence: float = 0.9
) -> Adjusted:
    """The mean of ``values`` at the targets of ``covariates``, by least squares.

    mean = y + sum_k b_k (target_k - x_k), y and x the means over the n seeds, b fitted; its squared
    standard error is s^2 (1 / n + d' S^-1 d), d = target - x, S the centred sums of products, s^2
    the residual variance with n - k - 1 degrees of freedom, and the interval is Student's (Cochran
    1957, "Analysis of Covariance: Its Nature and Uses"). No prior of the noise enters,
    as none is known of residuals.

    Raises ValueError, with the reason, for fewer than `least_seeds`, covariates of which no seed
    differs from another, that are linear in each other, or that are not finite.
    """
    n = len(values)
    table = np.array([c.values for c in covariates], dtype=np.float64).reshape(len(covariates), -1)
    y = np.asarray(values, dtype=np.float64)
    if table.shape != (len(covariates), n):
        raise ValueError(f"each covariate needs a value for each of {n} seeds")
    if not (np.isfinite(table).all() and np.isfinite(y).all()):
        raise ValueError("values and covariates must be finite")
    varying = [
        k for k, row in enumerate(table) if n and np.ptp(row) > _CONSTANT * (1 + abs(row).max())
    ]
    if not varying:
        raise ValueError("no covariate differs between the seeds, so that nothing can be fitted")
    if n < least_seeds(len(varying)):
        raise ValueError(
            f"{len(varying)} covariate{'s' * (len(varying) > 1)} and {n} seeds: at least "
            f"{least_seeds(len(varying))} seeds are needed to fit a weight for each"
        )
    chosen = [covariates[k] for k in varying]
    centre = table[varying].mean(axis=1)
    centred = (table[varying] - centre[:, None]).T  # [n, k]
    scale = centred.std(axis=0)
    design = centred / scale
    if np.linalg.cond(design) > _COLLINEAR:
        raise ValueError("the covariates are linear in each other: leave one out")
    residuals = y - y.mean()
    weights = np.linalg.lstsq(design, residuals, rcond=None)[0]
    residuals = residuals - design @ weights
    df = n - 1 - len(chosen)
    variance = float(residuals @ residuals) / df
    away = (np.array([c.target for c in chosen]) - centre) / scale
    factor = 1 / n + float(away @ np.linalg.solve(design.T @ design, away))
    mean = float(y.mean() + away @ weights)
    reach = float(stdtrit(df, (1 + confidence) / 2)) * math.sqrt(variance * factor)
    plain = float(y.var(ddof=1)) / n
    return Adjusted(
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        confidence=confidence,
        seeds=n,
        df=df,
        coefficients={c.name: float(w) for c, w in zip(chosen, weights / scale, strict=True)},
        targets={c.name: float(c.target) for c in chosen},
        constant=tuple(c.name for k, c in enumerate(covariates) if k not in varying),
        gain=variance * factor / plain if plain else 1.0,
    )
