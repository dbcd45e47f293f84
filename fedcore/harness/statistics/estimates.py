"""Gates: is a mean over paired seeds on the right side of a limit, and how sure is that?

The unit is a seed block: all arms of a seed share partition, initial weights, cohorts, batch
order and malicious set, so that a difference is taken within the seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from scipy.special import stdtrit

#: Probability with which a true limit may be missed by one cell, over all of its looks.
ERROR = 0.05


class CellVerdict(Enum):
    """What a gate says.

    VOID: the positive control shows no effect, nothing was learned that an attack could take, or
    a metric with a limit could not be measured, so nothing is proven. NO_LIMIT: no limit that
    could fail holds for the cell, so nothing is judged. MEASURED: of a cell of a matrix, which is
    measured, proven and compared, and of which no limit is asked.
    """

    PASS = "pass"
    FAIL = "FAIL"
    INCONCLUSIVE = "unsure"
    VOID = "VOID"
    ERROR = "ERROR"
    NO_LIMIT = "no limit"
    MEASURED = "measured"


@dataclass(frozen=True)
class Noise:
    """What is known beforehand about the deviation between seeds.

    ``sd``, in percentage points, is worth ``df`` degrees of freedom; df = 0 is Student's t from
    the sample alone. From ``alone`` seeds on (0: never) the sample counts alone in any case.
    """

    sd: float
    df: float
    alone: int = 0

    def __post_init__(self) -> None:
        if self.sd <= 0 or self.df < 0:
            raise ValueError(f"noise needs sd > 0 and df >= 0, got sd={self.sd}, df={self.df}")
        if self.alone != 0 and self.alone < 2:
            raise ValueError(f"noise needs alone >= 2 seeds or 0, got {self.alone}")

    def df_beside(self, seeds: int) -> float:
        """The degrees of freedom that the prior is worth beside a sample of ``seeds``."""
        return self.df if not self.alone or seeds < self.alone else 0.0


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its two-sided interval [low, high] at ``confidence``."""

    mean: float
    low: float
    high: float
    confidence: float
    seeds: int

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def estimate(values: Sequence[float], noise: Noise, confidence: float = 0.9) -> Estimate:
    """The mean of ``values`` with a moderated t interval.

    The variance is (d0 s0^2 + (n - 1) s^2) / (d0 + n - 1) with d0 + n - 1 degrees of freedom
    (Smyth 2004, equation 3.2 of "Linear Models and Empirical Bayes Methods", s0 and d0 from
    ``noise``): with 2 or 3 seeds the sample variance alone would be mostly luck. Each side
    of a 90 % interval is a one-sided bound at 95 %. ValueError for no values, or for a single
    one without prior degrees of freedom.
    """
    n = len(values)
    known = noise.df_beside(n)
    df = known + n - 1
    if n == 0 or df <= 0:
        raise ValueError(f"{n} values with {noise.df:g} prior degrees of freedom give no interval")
    mean = math.fsum(values) / n
    sample = statistics.variance(values) if n > 1 else 0.0
    variance = (known * noise.sd**2 + (n - 1) * sample) / df
    reach = float(stdtrit(df, (1 + confidence) / 2)) * math.sqrt(variance / n)
    return Estimate(mean, mean - reach, mean + reach, confidence, n)


def confidence(looks: int) -> float:
    """Level of the two-sided interval at each of ``looks`` looks.

    Either bound then holds at all looks together with probability 1 - `ERROR` (Bonferroni, which
    is valid however the looks depend on each other).
    """
    return 1 - 2 * ERROR / looks


def judge(found: Estimate, low: float | None, high: float | None) -> CellVerdict:
    """Whether the true mean lies in [``low``, ``high``]; None leaves that side open.

    PASS if the whole interval does, FAIL if it lies beyond a limit, else INCONCLUSIVE.
    """
    if (low is not None and found.high < low) or (high is not None and found.low > high):
        return CellVerdict.FAIL
    inside = (low is None or found.low >= low) and (high is None or found.high <= high)
    return CellVerdict.PASS if inside else CellVerdict.INCONCLUSIVE


def worst(verdicts: Sequence[CellVerdict]) -> CellVerdict:
    """The verdict of several gates together: any failure fails, any doubt is a doubt."""
    order = (CellVerdict.ERROR, CellVerdict.VOID, CellVerdict.FAIL, CellVerdict.INCONCLUSIVE)
    return next((v for v in order if v in verdicts), CellVerdict.PASS)
