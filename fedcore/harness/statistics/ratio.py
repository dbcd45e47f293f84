"""Interval of a ratio of two means over paired seeds: retention, poisoned over clean accuracy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit

from fedcore.harness.statistics.estimates import Estimate, Noise


def ratio_estimate(
    numerators: Sequence[float],
    denominators: Sequence[float],
    noise: Noise,
    confidence: float = 0.9,
) -> Estimate:
    """The ratio of the means of ``numerators`` and ``denominators``, paired, with its interval.

    Fieller's interval (Fieller 1954, "Some Problems in Interval Estimation"): all r for
    which the mean of p_i - r c_i does not differ from 0. That is judged with the moderated t of
    `estimates.estimate`, so that 1 lies outside exactly where the interval of the drop excludes 0,
    and the two figures of a cell never contradict each other. Without a prior each of its ends
    misses in 5 % of cases; the delta method on log p - log c misses in 6 to 7 % on one side and 2
    to 3 % on the other where the deviation is half of the mean (simulated, 3 to 10 seeds), and
    gates are one-sided.

    ``noise`` is of p_i - r c_i in the units of the values, for every r in question. ``mean`` is
    the ratio of the means, not the mean of ratios, and lies inside [low, high] but not in their
    middle. ValueError for no pair, sequences of different lengths, a single pair without prior
    degrees of freedom, or where the denominator's own interval reaches 0: the set is then no
    interval.
    """
    n = len(numerators)
    known = noise.df_beside(n)
    df = known + n - 1
    if n != len(denominators):
        raise ValueError(f"pairs are needed, got {n} numerators and {len(denominators)} others")
    if n == 0 or df <= 0:
        raise ValueError(f"{n} pairs with {known:g} prior degrees of freedom give no interval")
    above, below = math.fsum(numerators) / n, math.fsum(denominators) / n
    t = float(stdtrit(df, (1 + confidence) / 2))
    scale = t * t / (n * df)
    prior = scale * known * noise.sd**2
    spread = scale * (n - 1)
    variances = [statistics.variance(v) if n > 1 else 0.0 for v in (numerators, denominators)]
    shared = statistics.covariance(numerators, denominators) if n > 1 else 0.0
    # (above - r below)^2 <= prior + spread var(p - r c), as a r^2 - 2 b r + c <= 0
    a = below**2 - spread * variances[1]
    b = above * below - spread * shared
    c = above**2 - spread * variances[0] - prior
    if a <= 0 or below == 0:
        raise ValueError(
            f"a denominator of {below:.3g} with an interval that reaches 0 gives no interval of "
            "the ratio: run more seeds"
        )
    reach = math.sqrt(max(0.0, b * b - a * c))
    return Estimate(above / below, (b - reach) / a, (b + reach) / a, confidence, n)
