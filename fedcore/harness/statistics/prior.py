"""How cells deviate between seeds: a prior for variances, estimated from many cells.

With three seeds a cell's own variance is mostly luck. Cells of a stratum (kind of partition and
metric) are alike, so that all of their variances say what is usual there, and how far one cell
may be from it. This is the empirical Bayes model of Smyth (2004), "Linear Models and Empirical
Bayes Methods for Assessing Differential Expression in Microarray Experiments", section 6.2, with
a trend on the mean: variances s_g^2 on d_g degrees of freedom are s0^2 F(d_g, d0).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

from fedcore.harness.statistics.estimates import Noise

Values = npt.NDArray[np.float64]

#: No prior is worth more degrees of freedom. The estimate is often infinite, but rests on a dozen
#: variances of 2 degrees of freedom, of cells that share their seeds.
MOST_DF = 8.0
#: From so many seeds on the sample's own variance counts alone: a prior would make an interval of
#: five seeds a tenth narrower, and its coverage depend on the cell's true deviation.
ALONE = 5
#: Fewer variances give no trend on the mean.
FEWEST_FOR_TREND = 12
#: Fewer give no prior.
FEWEST = 3
#: A variance counts as at least this share of the median one (as limma does): log 0 is no number.
_FLOOR = 1e-5


@dataclass(frozen=True)
class Trend:
    """The prior of a stratum: log s0^2 = ``level`` + ``slope`` * mean, worth ``df``.

    Variances in squared percentage points; the mean, in percent or points, counts within [``low``,
    ``high``], which the middle 80 % of the ``cells`` that the trend is from have spanned.
    ``spread`` is the estimate of ``df`` before it was bounded by `MOST_DF` (infinite: no variance
    is unlike the others).
    """

    level: float
    slope: float
    low: float
    high: float
    df: float
    cells: int
    spread: float = math.inf

    def at(self, mean: float) -> Noise:
        """The prior of a cell with ``mean``, used below `ALONE` seeds."""
        within = min(max(mean, self.low), self.high)
        return Noise(math.exp((self.level + self.slope * within) / 2), self.df, ALONE)


#: Metrics that deviate like another one.
ALIKE = {"skill": "clean", "twin_skill": "clean", "control": "drop", "control_asr": "asr"}


@dataclass(frozen=True)
class Priors:
    """Priors by stratum, (kind of partition, metric), and what holds for others."""

    usual: Noise
    strata: Mapping[tuple[str, str], Trend]

    def of(self, partition: str, metric: str, mean: float) -> Noise:
        """The prior of a cell on ``partition`` whose ``metric`` has ``mean``."""
        trend = self.strata.get((partition, ALIKE.get(metric, metric)))
        return self.usual if trend is None else trend.at(mean)


def fit(
    variances: Sequence[float], df: Sequence[float], means: Sequence[float] | None = None
) -> Trend:
    """The prior of cells with ``variances`` on ``df`` degrees of freedom, and ``means``.

    e_g = log s_g^2 - digamma(d_g / 2) + log(d_g / 2) has expectation log s0^2 - digamma(d0 / 2) +
    log(d0 / 2) and variance trigamma(d_g / 2) + trigamma(d0 / 2) (Smyth 2004, section 6.2). With
    ``means`` of `FEWEST_FOR_TREND` cells or more the expectation is linear in them, by least
    squares. ValueError for fewer than `FEWEST` variances, or none above 0.
    """
    s2, d = np.asarray(variances, np.float64), np.asarray(df, np.float64)
    if len(s2) < FEWEST or not (s2 > 0).any() or (d < 1).any():
        raise ValueError(
            f"{FEWEST} variances on >= 1 degree of freedom, one of them > 0, are needed, got {s2}"
        )
    s2 = np.maximum(s2, _FLOOR * float(np.median(s2[s2 > 0])))
    e = np.log(s2) - digamma(d / 2) + np.log(d / 2)
    x = np.zeros(len(s2)) if means is None else np.asarray(means, np.float64)
    low, high = (float(edge) for edge in np.quantile(x, [0.1, 0.9]))
    x = x.clip(low, high)  # a straight line through a few cells far out says little of them
    sloped = means is not None and len(s2) >= FEWEST_FOR_TREND and bool(np.ptp(x) > 0)
    slope = float(np.cov(x, e)[0, 1] / x.var(ddof=1)) if sloped else 0.0
    level = float(e.mean() - slope * x.mean())
    residual = float(((e - level - slope * x) ** 2).sum()) / (len(e) - 1 - sloped)
    more = residual - float(polygamma(1, d / 2).mean())
    spread = 2 * trigamma_inverse(more) if more > 0 else math.inf
    weight = min(spread, MOST_DF)
    # s0 that goes with the weight that is used: the mean of log s^2 stays what it is
    shift = 0.0 if math.isinf(spread) else float(digamma(spread / 2) - math.log(spread / 2))
    return Trend(level + shift, slope, low, high, weight, len(s2), spread)


def trigamma_inverse(y: float) -> float:
    """The x > 0 with trigamma(x) = ``y`` > 0, by Newton's method (Smyth 2004, appendix).

    1 / trigamma is convex and nearly linear, so that steps from 0.5 + 1 / y do not overshoot.
    """
    if y > 1e7:
        return 1 / math.sqrt(y)
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        tri = float(polygamma(1, x))
        step = tri * (1 - tri / y) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
