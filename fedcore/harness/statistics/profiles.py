"""Performance profiles: in which share of the cells an arm is within so many points of the best.

Dolan and More 2002, "Benchmarking optimization software with performance profiles", equation 2.1,
with the difference from the best in the place of the ratio to it: accuracies share one scale, on
which a ratio would mean something else near chance than near 100 %. Intervals are by resampling
whole seed blocks, as for ranks; Agarwal et al. 2021 (section 4.2) draw within each task instead,
which breaks the pairing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedcore.harness.statistics.bootstrap import Values
from fedcore.harness.statistics.ranks import EQUAL, RANK_CONFIDENCE, resample


@dataclass(frozen=True)
class Profile:
    """Of one arm: ``gaps`` to the best by cell, and the ``share`` of cells within each distance.

    ``low`` and ``high`` bound each share on its own; None for a single seed.
    """

    gaps: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None


def profiles(
    values: Values, within: Sequence[float], confidence: float = RANK_CONFIDENCE
) -> tuple[Profile, ...]:
    """The profile of each arm of ``values`` [seeds, arms, cells], higher is better.

    An arm is within a distance of ``within`` (in the unit of the values, >= 0) in a cell where its
    mean over the seeds is that much below the best arm's there, or less; which arm is best is
    sought anew in every resample. ValueError for another shape, values that are not finite or a
    negative distance.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3 or not len(within) or min(within) < 0:
        raise ValueError(
            f"values [seeds, arms, cells] and distances >= 0 are needed, got {values.shape} and "
            f"{list(within)}"
        )
    drawn = resample(values, confidence)
    observed = values.mean(axis=0)
    gaps = observed.max(axis=0) - observed
    lead = drawn.means.max(axis=1)[:, None] - drawn.means  # [resamples, arms, cells]
    result = []
    for arm in range(values.shape[1]):
        shares = [(lead[:, arm] <= tau + EQUAL).mean(axis=1) for tau in within]
        bounds = [drawn.quantiles(share, confidence) for share in shares]
        single = len(values) == 1
        result.append(
            Profile(
                tuple(gaps[arm].tolist()),
                tuple(float((gaps[arm] <= tau + EQUAL).mean()) for tau in within),
                None if single else tuple(low for low, _ in bounds),
                None if single else tuple(high for _, high in bounds),
            )
        )
    return tuple(result)
