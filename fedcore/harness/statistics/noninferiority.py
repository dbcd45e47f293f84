"""Is anything worse than before? Paired differences of many arms between two versions of the code.

Three levels are tested together: every arm by itself, the arms of each strategy, and all arms.
Each level gets a third of the error: over 50 arms and 3 seeds a loss that all of them share is
invisible in any single one, and plain in their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from fedcore.harness.statistics.estimates import Noise

Values = npt.NDArray[np.float64]

#: Probability of one false alarm or more in a comparison, over all levels and arms.
ALPHA = 0.01
#: Losses of less, in percentage points, never fail.
MINIMUM_EFFECT = 1.0
#: Seeds that an arm needs in both versions.
FEWEST_SEEDS = 2
#: Correlation between the differences of two arms on one seed that pooled tests reckon with.
CORRELATION = 0.2
#: Degrees of freedom that the expected spread of a pooled mean is worth.
POOLED_DF = 16.0


@dataclass(frozen=True)
class Shifts:
    """Means, one-sided p and p after Holm, each [..., hypotheses]: all arms, strategies, arms.

    ``sd`` [...] is the spread of a single arm's difference that was reckoned with, ``reach`` half
    the width of each mean's two-sided interval at 1 - 2 `ALPHA`, uncorrected: the bound on the
    side of a loss is the one-sided one at 1 - `ALPHA`. A hypothesis with fewer seeds than
    `FEWEST_SEEDS` has mean and reach nan, and p 1.
    """

    strategies: tuple[str, ...]
    mean: Values
    p: Values
    adjusted: Values
    sd: Values
    reach: Values
    seeds: Values

    @property
    def worse(self) -> npt.NDArray[np.bool_]:
        """Significantly worse, and by more than `MINIMUM_EFFECT`, [..., hypotheses]."""
        return self.worse_than(MINIMUM_EFFECT)

    def worse_than(self, effect: float) -> npt.NDArray[np.bool_]:
        """Significantly worse, and by more than ``effect`` percentage points, [..., hypotheses]."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.adjusted <= ALPHA) & (self.mean < -effect))


def compare(differences: Values, strategies: Sequence[str], noise: Noise) -> Shifts:
    """Test ``differences`` [..., arms, seeds], now minus before in percentage points.

    nan stands for a seed that one side lacks; ``strategies`` names the strategy of each arm.
    The null hypothesis of each test is a mean difference >= 0. The spread of a difference is
    taken from all arms that changed together, moderated by ``noise`` (Smyth 2004); a pooled mean
    of k such arms is expected to vary by sd^2 (1 + (k - 1) `CORRELATION`) / k, moderated in turn
    by how it does vary between seeds. Holm (1979) in its weighted form holds the error over all.
    """
    names = tuple(dict.fromkeys(strategies))
    arms = differences.shape[-2]
    members = np.array(
        [[True] * arms, *([s == name for s in strategies] for name in names)], dtype=np.float64
    )
    changed = np.asarray(np.abs(np.nan_to_num(differences)).sum(axis=-1) > 0)  # [..., arms]
    sd = spread(np.where(changed[..., None], differences, np.nan), noise)
    # an arm without a common seed is in no mean; else a group counts the seeds all its arms share
    present = np.asarray(~np.isnan(differences).all(axis=-1))
    inside = members * present[..., None, :]  # [..., groups, arms]
    size = inside.sum(axis=-1)
    absent = np.isnan(differences)
    gaps = inside @ absent  # [..., groups, seeds]: members that lack the seed
    sums = inside @ np.where(absent, 0.0, differences)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.where(gaps > 0, np.nan, sums / size[..., None])
        varying = (inside * changed[..., None, :]).sum(axis=-1)
        share = np.sqrt(varying * (1 + (varying - 1) * CORRELATION)) / size
    levels = (
        (pooled, sd[..., None] * share, POOLED_DF),
        (differences, np.broadcast_to(sd[..., None], changed.shape), noise.df),
    )
    mean, p = (
        np.concatenate(both, axis=-1)
        for both in zip(*(one_sided(*level) for level in levels), strict=True)
    )
    reach = np.concatenate([half_width(*level) for level in levels], axis=-1)
    seeds = np.concatenate([_moments(values)[0] for values, _, _ in levels], axis=-1)
    weights = np.array([1.0, *[1 / len(names)] * len(names), *[1 / arms] * arms]) / 3
    return Shifts(names, mean, p, holm(p, weights), sd, reach, seeds)


def spread(differences: Values, noise: Noise) -> Values:
    """Standard deviation of a difference, [...], from ``differences`` [..., arms, seeds].

    Variances within the arms are pooled over arms by their degrees of freedom, ``noise`` among
    them; nan is left out.
    """
    counts, means = _moments(differences)
    squares = np.nansum((differences - means[..., None]) ** 2, axis=(-2, -1))
    df = np.maximum(counts - 1, 0).sum(axis=-1)
    return np.asarray(np.sqrt((noise.df * noise.sd**2 + squares) / (noise.df + df)))


def one_sided(values: Values, sd: Values, df: float) -> tuple[Values, Values]:
    """(mean, p) of the moderated t test of mean >= 0 for ``values`` [..., seeds].

    ``sd`` [...] is the spread expected beforehand, worth ``df`` degrees of freedom.
    """
    counts, means = _moments(values)
    error, total = _error(values, sd, df)
    enough = counts >= FEWEST_SEEDS
    with np.errstate(invalid="ignore", divide="ignore"):
        t = means / error
        p = np.where(enough & np.isfinite(t), stdtr(total, t), 1.0)
    return np.where(enough, means, np.nan), p


def half_width(values: Values, sd: Values, df: float) -> Values:
    """Half of the interval at 1 - 2 `ALPHA` of the mean that `one_sided` tests, [...]."""
    error, total = _error(values, sd, df)
    enough = _moments(values)[0] >= FEWEST_SEEDS
    with np.errstate(invalid="ignore"):
        return np.where(enough, stdtrit(total, 1 - ALPHA) * error, np.nan)


def _error(values: Values, sd: Values, df: float) -> tuple[Values, Values]:
    """Moderated standard error of the mean over the last axis, and its degrees of freedom."""
    counts, means = _moments(values)
    squares = np.nansum((values - means[..., None]) ** 2, axis=-1)
    total = df + counts - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt((df * sd**2 + squares) / total / counts), total


def holm(p: Values, weights: Values) -> Values:
    """Give p after Holm's correction over the last axis, with ``weights`` [hypotheses] > 0.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979, section 4: the
    hypotheses are taken in the order of p / w, and each p is multiplied by the weight of those
    not yet rejected over its own. Equal weights give the usual m, m - 1, ... 1.
    """
    shares = np.broadcast_to(weights, p.shape)
    order = np.argsort(p / shares, axis=-1, kind="stable")
    sorted_w = np.take_along_axis(shares, order, axis=-1)
    left = np.cumsum(sorted_w[..., ::-1], axis=-1)[..., ::-1]
    stepped = np.take_along_axis(p, order, axis=-1) * left / sorted_w
    stepped = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def _moments(values: Values) -> tuple[Values, Values]:
    """(count, mean) over the last axis without nan; the mean of nothing is nan."""
    counts = (~np.isnan(values)).sum(axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts, np.nansum(values, axis=-1) / counts
