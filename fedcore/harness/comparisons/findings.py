"""What a test says of paired differences: all arms, each strategy, each arm, in both directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedcore.harness.baselines.comparison import ASR_EFFECT, ASR_NOISE
from fedcore.harness.comparisons.pairing import Pair
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.statistics.noninferiority import ALPHA, FEWEST_SEEDS, MINIMUM_EFFECT, compare


@dataclass(frozen=True)
class Finding:
    """One test. ``mean``, ``low`` and ``high`` are of B - A in percentage points.

    ``level`` is "all", "strategy" or "arm"; ``name`` says of what, ``arms`` of how many. ``low``
    and ``high`` are the least and the greatest difference of its ``pairs`` of runs. ``p`` is
    two-sided and corrected for all tests of its metric. ``direction`` is "worse" or "better" where
    the difference is significant, else None: of a lower accuracy or a higher attack success rate, B
    is worse. ``mean``, ``low`` and ``high`` are None with fewer than two seeds.
    """

    metric: str
    level: str
    name: str
    arms: int
    pairs: int
    mean: float | None
    low: float | None
    high: float | None
    p: float
    direction: str | None


def judged(pairs: Sequence[Pair], noise: Noise, alpha: float = ALPHA) -> list[Finding]:
    """Every test over ``pairs``, of accuracy first, each family with an error of ``alpha``."""
    attacked = [pair for pair in pairs if pair.asr]
    return [
        *_family("accuracy", pairs, lambda pair: pair.accuracy, noise, MINIMUM_EFFECT, alpha),
        *_family("asr", attacked, lambda pair: pair.asr, ASR_NOISE, ASR_EFFECT, alpha),
    ]


def _family(
    metric: str,
    pairs: Sequence[Pair],
    values: Callable[[Pair], Mapping[int, tuple[float, float]]],
    noise: Noise,
    effect: float,
    alpha: float,
) -> list[Finding]:
    if not pairs:
        return []
    seeds = sorted({seed for pair in pairs for seed in values(pair)})
    rows = [
        [b - a for a, b in (values(pair).get(seed, (math.nan, math.nan)) for seed in seeds)]
        for pair in pairs
    ]
    strategies = [pair.strategy for pair in pairs]
    differences = np.array(rows, dtype=np.float64)
    low, high = (compare(sign * differences, strategies, noise) for sign in (1, -1))
    groups = [("all", "all arms", [True] * len(pairs))]
    groups += [("strategy", n, [s == n for s in strategies]) for n in low.strategies]
    groups += [("arm", p.name, [p is other for other in pairs]) for p in pairs]
    found = []
    for i, (level, name, members) in enumerate(groups):
        mean = float(low.mean[i])
        known = math.isfinite(mean)
        each = differences[members]
        p = min(1.0, 2 * float(min(low.adjusted[i], high.adjusted[i])))
        significant = known and p <= alpha and abs(mean) > effect
        falls = mean < 0 if metric == "accuracy" else mean > 0
        found.append(
            Finding(
                metric,
                level,
                name,
                sum(members),
                int((~np.isnan(each)).sum()),
                mean if known else None,
                float(np.nanmin(each)) if known else None,
                float(np.nanmax(each)) if known else None,
                p,
                ("worse" if falls else "better") if significant else None,
            )
        )
    return found


def rule(alpha: float = ALPHA) -> str:
    """The rule by which a difference counts."""
    return (
        f"a difference counts where it exceeds {MINIMUM_EFFECT:g} pp of accuracy ({ASR_EFFECT:g} "
        f"pp of attack success rate) with two-sided p <= {alpha:g} after Holm's correction over "
        f"all arms, each strategy and each arm ({FEWEST_SEEDS} seeds or more in common)"
    )
