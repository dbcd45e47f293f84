"""What the gate for other machines says of paired differences, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcore.harness.comparisons.pairing import Pair
from fedcore.harness.statistics.portable import (
    ALL,
    ALPHA,
    ARM,
    DIVERGED,
    FEWEST_SEEDS,
    GROUP,
    MINIMUM,
    PairedArm,
    Shift,
    compare_sessions,
)
from fedcore.harness.statistics.scales import platform_scales, stratum

LEVELS = {ALL: "all", GROUP: "strategy", ARM: "arm", DIVERGED: "diverged"}


@dataclass(frozen=True)
class Finding:
    """One test. ``size``, ``mean``, ``low`` and ``high`` are of B - A in percentage points.

    ``level`` is "all", "strategy" (its arms of one stratum), "arm" or "diverged" (the number of
    runs that left the finite numbers, which ``size`` counts there); ``name`` says of what, ``arms``
    of how many. ``size`` is the mean of the middle half of the ``pairs`` of runs, ``low`` and
    ``high`` their least and greatest difference; all are None without pairs. ``p`` is two-sided,
    ``p_holm`` corrected for all tests. ``direction`` is "worse" or "better" where the difference is
    significant, else None: of a lower accuracy or a higher attack success rate, B is worse.
    """

    metric: str
    level: str
    name: str
    arms: int
    pairs: int
    size: float | None
    mean: float | None
    low: float | None
    high: float | None
    p: float
    p_holm: float
    direction: str | None


def judged(pairs: Sequence[Pair], alpha: float) -> tuple[list[Finding], Mapping[str, float]]:
    """Every test over ``pairs`` with an error of ``alpha`` in all, and the scales by stratum.

    The tests of `portable.compare_sessions`, none without ``pairs``.
    """
    if not pairs:
        return [], {}
    arms = [_paired(pair, metric) for metric in MINIMUM for pair in pairs if _values(pair, metric)]
    result = compare_sessions(arms, platform_scales())
    differences = {(arm.metric, arm.id): arm.differences for arm in arms}
    findings = [_finding(test, differences, alpha) for test in result.tests]
    return findings, result.scales


def _values(pair: Pair, metric: str) -> dict[int, tuple[float, float]]:
    return pair.asr if metric == "asr" else pair.accuracy


def _paired(pair: Pair, metric: str) -> PairedArm:
    known = pair.a.known
    partition = str(known.values.get("partition"))
    return PairedArm(
        pair.name,
        pair.strategy,
        (metric if metric == "asr" else partition)
        if known.scenario is None
        else stratum(known.scenario, metric),
        {seed: b - a for seed, (a, b) in _values(pair, metric).items()},
        frozenset(pair.a.diverged),
        frozenset(pair.b.diverged),
        metric,
    )


def _finding(
    test: Shift, differences: Mapping[tuple[str, str], Mapping[int, float]], alpha: float
) -> Finding:
    values = [value for name in test.arms for value in differences[test.metric, name].values()]
    significant = test.found
    if alpha != ALPHA:
        large = test.size is not None and abs(test.size) >= MINIMUM[test.metric]
        significant = (test.found or large) and test.adjusted <= alpha
    counted = test.size is not None and test.family != DIVERGED
    return Finding(
        test.metric,
        LEVELS[test.family],
        test.name,
        len(test.arms),
        test.pairs,
        test.size,
        test.mean,
        min(values) if counted else None,
        max(values) if counted else None,
        test.p,
        test.adjusted,
        test.direction if significant else None,
    )


def rule(alpha: float, scales: Mapping[str, float]) -> str:
    """The rule by which a difference counts."""
    listed = ", ".join(f"{name} {value:.2g}" for name, value in scales.items())
    measured = f" ({listed} pp)" if listed else ""
    return (
        "a difference counts where the scores of its runs, each divided by how far runs of its "
        f"stratum move between machines{measured}, have a two-sided p <= {alpha:.2g} after Holm's "
        "correction over all arms, each strategy in each stratum, each arm and the number of "
        f"diverging runs, and where it is {MINIMUM['accuracy']:g} pp of accuracy or more "
        f"({MINIMUM['asr']:g} pp of attack success rate); {FEWEST_SEEDS} seeds or more in common"
    )
