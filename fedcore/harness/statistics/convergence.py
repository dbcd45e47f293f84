"""Has an arm converged? The slope of its accuracy over the tail, against the noise of that slope.

At ten rounds the order of arms is that of their learning speed. So an arm whose accuracy still
rises is not compared by its level.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fedcore.harness.statistics.estimates import Estimate, Noise, estimate

#: Percentage points per ten rounds that an arm which counts as converged may still gain.
STILL = 1.0
#: Evaluated rounds below which a tail has no slope worth a test.
FEWEST_ROUNDS = 6
#: What the scatter of the rounds about their line is worth beside the seeds: degrees of freedom.
SCATTER_DF = 4.0


class Convergence(Enum):
    """FLAT: it does not rise by `STILL`. RISING: it does, beyond noise. OPEN: noise hides it."""

    FLAT = "flat"
    RISING = "rising"
    OPEN = "open"


@dataclass(frozen=True)
class Trend:
    """The line through the tail of one run: ``slope`` and its standard error, points per round."""

    slope: float
    error: float


def why_not_compared(state: Convergence | None, *, attacked: bool = False) -> str | None:
    """Why no rank, cost or mean over cells is made of an arm in ``state``; None where it may be.

    ``state`` None: the tail is too short for a test. Of an arm without attack it must be shown that
    it has converged. One that is ``attacked`` may go up and down for ever, so that of it noise
    alone is no reason.
    """
    if state is None:
        return "its tail is too short for a test of convergence"
    if state is Convergence.RISING:
        return "it still rises"
    if state is Convergence.OPEN and not attacked:
        return "noise hides whether it still rises"
    return None


def trend(rounds: Sequence[int], accuracy: Sequence[float]) -> Trend | None:
    """The least-squares line of ``accuracy`` (percent) over ``rounds``; None for too few rounds.

    The standard error is of the residuals, with two degrees of freedom fewer than rounds.
    """
    n = len(rounds)
    if n < FEWEST_ROUNDS:
        return None
    middle, level = statistics.fmean(rounds), statistics.fmean(accuracy)
    spread = math.fsum((r - middle) ** 2 for r in rounds)
    slope = math.fsum((r - middle) * a for r, a in zip(rounds, accuracy, strict=True)) / spread
    residuals = [a - level - slope * (r - middle) for r, a in zip(rounds, accuracy, strict=True)]
    variance = math.fsum(value**2 for value in residuals) / (n - 2)
    return Trend(slope, math.sqrt(variance / spread))


@dataclass(frozen=True)
class Progress:
    """The rise of an arm over ten rounds of its tail, in points, and what follows from it."""

    rise: Estimate
    state: Convergence


def progress(trends: Sequence[Trend], confidence: float = 0.9) -> Progress:
    """Whether an arm still rises, from the ``trends`` of its seeds.

    The mean slope has a moderated t interval over the seeds (`estimates.estimate`), to which the
    mean error of the lines counts as `SCATTER_DF` degrees of freedom known beforehand. The arm is
    FLAT where the whole interval lies below `STILL` points per ten rounds, RISING where the mean
    does not and the whole interval lies above 0, and OPEN otherwise. An arm that falls is flat: it
    will not overtake. ValueError without trends.
    """
    if not trends:
        raise ValueError("a convergence test needs the trend of one seed at least")
    scatter = 10 * math.sqrt(statistics.fmean(t.error**2 for t in trends))
    known = Noise(max(scatter, 1e-9), SCATTER_DF)
    rise = estimate([10 * t.slope for t in trends], known, confidence)
    if rise.high < STILL:
        return Progress(rise, Convergence.FLAT)
    rising = rise.mean >= STILL and rise.low > 0
    return Progress(rise, Convergence.RISING if rising else Convergence.OPEN)
