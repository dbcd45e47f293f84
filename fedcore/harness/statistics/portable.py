"""Has anything changed between two sessions of different machines? A gate in both directions.

Differences between machine classes have no variance that a t test could use (see `score`), so that
each paired difference is divided by the scale that was measured for its stratum and scored. The
sum of scores is tested against its exact null distribution, two-sided, in three families: all arms
together, the arms of each strategy within each stratum, and every arm by itself. A shift that all
arms share is invisible in any single one, and plain in their sum. The number of diverged runs is a
hypothesis of its own. Holm's correction with weights holds the error over everything together.

What improves is a finding as what worsens is: nobody has asked for it, and a leak or an attack that
is off looks like that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from fedcore.harness.statistics.holm import holm
from fedcore.harness.statistics.score import CAP, LARGEST, score, two_sided

Values = npt.NDArray[np.float64]

#: Probability of one false alarm or more in a comparison of two sessions.
ALPHA = 0.005
#: Seeds that an arm needs in both sessions.
FEWEST_SEEDS = 2
#: Shifts of less, in percentage points, are no finding, by metric: a session of thousands of runs
#: would find the platforms' own.
MINIMUM = {"accuracy": 0.2, "asr": 1.0}
ALL, GROUP, ARM, DIVERGED = "all arms", "strategy x stratum", "arm", "diverged runs"
#: What the families weigh, and all of a metric: the sum over all arms needs the least help.
_FAMILIES = {ALL: 0.2, GROUP: 0.5, ARM: 0.3}
_METRICS = {"accuracy": 0.85, "asr": 0.15}
_DIVERGED_WEIGHT = 0.05
#: The rate of diverging by chance counts as if this many of so many more runs had diverged.
_PRIOR_DIVERGED, _PRIOR_RUNS = 0.5, 20.0


@dataclass(frozen=True)
class PairedArm:
    """One arm in two sessions: ``differences`` by seed, now minus before, in percentage points.

    ``metric`` is "accuracy" or "asr" (attack success rate, where a rise is worse). ``stratum``
    names the scale that was measured for arms like this one. On the seeds in ``diverged_before``
    and ``diverged_now`` the run has left the finite numbers: it counts at chance, and is not left
    out.
    """

    id: str
    strategy: str
    stratum: str
    differences: Mapping[int, float]
    diverged_before: frozenset[int] = frozenset()
    diverged_now: frozenset[int] = frozenset()
    metric: str = "accuracy"


@dataclass(frozen=True)
class Shift:
    """One hypothesis: that ``arms`` are what they were.

    ``direction`` is "worse", "better" or "none". ``size`` is the midmean of the differences (the
    mean of the middle half), ``mean`` their mean, in percentage points; None without pairs. Of
    family `DIVERGED` they are the difference in diverged runs. ``score`` is the sum of the scores,
    positive where the metric has risen. ``diverged`` counts runs before and now. ``found``: the
    corrected ``adjusted`` is at most `ALPHA`, and the shift is not below `MINIMUM`.
    """

    family: str
    name: str
    metric: str
    direction: str
    size: float | None
    mean: float | None
    score: float
    pairs: int
    p: float
    adjusted: float
    found: bool
    arms: tuple[str, ...]
    diverged: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """All ``tests`` of two sessions, and what they come to.

    ``scales`` are those that were used, in percentage points by stratum.
    """

    tests: tuple[Shift, ...]
    scales: Mapping[str, float]

    @property
    def findings(self) -> tuple[Shift, ...]:
        """The tests that found a change, all arms first."""
        return tuple(test for test in self.tests if test.found)

    @property
    def verdict(self) -> str:
        """Unchanged, worse, better, or mixed where findings go both ways."""
        ways = {test.direction for test in self.findings}
        return "mixed" if len(ways) > 1 else next(iter(ways), "unchanged")


@dataclass(frozen=True)
class Families:
    """The hypotheses over some arms: ``members`` [hypotheses, arms] and ``weights`` [hypotheses].

    ``kinds`` are (family, name, metric) of each.
    """

    kinds: tuple[tuple[str, str, str], ...]
    members: npt.NDArray[np.bool_]
    weights: Values

    @classmethod
    def of(cls, arms: Sequence[tuple[str, str, str, str]]) -> Families:
        """The families of ``arms``, each (id, strategy, stratum, metric)."""
        kinds: list[tuple[str, str, str]] = []
        members: list[list[bool]] = []
        weights: list[float] = []
        for metric in dict.fromkeys(arm[3] for arm in arms):
            own = [arm[3] == metric for arm in arms]
            groups = dict.fromkeys(arm[1:3] for arm in arms if arm[3] == metric)
            share = _METRICS[metric]
            kinds.append((ALL, ALL, metric))
            members.append(own)
            weights.append(share * _FAMILIES[ALL])
            for strategy, stratum in groups:
                kinds.append((GROUP, f"{strategy}, {stratum}", metric))
                members.append([arm[1:] == (strategy, stratum, metric) for arm in arms])
                weights.append(share * _FAMILIES[GROUP] / len(groups))
            for i, arm in enumerate(arms):
                if arm[3] == metric:
                    kinds.append((ARM, arm[0], metric))
                    members.append([i == j for j in range(len(arms))])
                    weights.append(share * _FAMILIES[ARM] / sum(own))
        kinds.append((DIVERGED, DIVERGED, "accuracy"))
        members.append([arm[3] == "accuracy" for arm in arms])
        weights.append(_DIVERGED_WEIGHT)
        return cls(tuple(kinds), np.array(members, bool), np.array(weights) / sum(weights))


@dataclass(frozen=True)
class Shifts:
    """What `shifts` gives, each [..., hypotheses]: see `Shift`."""

    total: Values
    pairs: Values
    size: Values
    mean: Values
    p: Values
    adjusted: Values
    found: npt.NDArray[np.bool_] = field(repr=False)


def shifts(families: Families, differences: Values, broken: Values, scales: Values) -> Shifts:
    """Test all hypotheses of ``families`` on ``differences`` [..., arms, seeds].

    nan stands for a seed that one side lacks. ``broken`` [..., arms, seeds] is -1 where only the
    run now has diverged, 1 where only the one before has, else 0. ``scales`` [arms] are in
    percentage points. An arm with fewer than `FEWEST_SEEDS` seeds is left out.
    """
    differences = np.asarray(differences, np.float64)
    few = (~np.isnan(differences)).sum(-1) < FEWEST_SEEDS
    differences = np.where(few[..., None], np.nan, differences)
    absent = np.isnan(differences)
    broken = np.where(absent, 0.0, broken)
    z = differences / np.asarray(scales)[:, None]
    scores = np.where(absent, 0.0, np.where(broken != 0, CAP * broken, score(z)))
    extreme = np.where(absent, 0.0, np.where(broken != 0, broken, np.sign(z) * (abs(z) >= LARGEST)))
    inside = families.members.astype(np.float64)
    total = scores.sum(-1) @ inside.T
    pairs = (~absent).sum(-1) @ inside.T
    down, up = (((extreme == sign).sum(-1) @ inside.T) for sign in (-1, 1))
    metrics = np.array([kind[2] for kind in families.kinds])
    pooled = np.array([kind[0] == ALL for kind in families.kinds])
    rate = np.zeros(total.shape)
    for metric in dict.fromkeys(metrics):
        place = int(np.flatnonzero(pooled & (metrics == metric))[0])
        one, other, n = (found[..., place] for found in (down, up, pairs))
        known = 2 * (np.minimum(one, other) + _PRIOR_DIVERGED) / (n + _PRIOR_RUNS)
        rate[..., metrics == metric] = known[..., None]
        with np.errstate(invalid="ignore"):  # the signs of all together are tested, not their rate
            rate[..., place] = np.fmax(known, (one + other) / n)
    p = two_sided(total, pairs, rate)
    size, mean = _sizes(families, differences)
    counts = [kind[0] == DIVERGED for kind in families.kinds]
    lost, won = (((broken == sign).sum(-1) @ inside[counts].T) for sign in (-1, 1))
    p[..., counts] = sign_test(lost, won)
    total[..., counts] = size[..., counts] = mean[..., counts] = won - lost
    least = np.array([MINIMUM[kind[2]] for kind in families.kinds])
    adjusted = holm(p, families.weights)
    with np.errstate(invalid="ignore"):
        enough = (abs(size) >= least) | (abs(up - down) >= 2)
        material = enough & np.isfinite(size)
    return Shifts(total, pairs, size, mean, p, adjusted, material & (adjusted <= ALPHA))


def sign_test(one: Values, other: Values) -> Values:
    """Two-sided exact p that ``one`` and ``other`` counts are fair draws; 1 where both are 0."""
    n = one + other
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(one, other), n.astype(np.int64), 0.5)))


def _sizes(families: Families, differences: Values) -> tuple[Values, Values]:
    """Midmean and mean of the differences of each hypothesis, [..., hypotheses]; nan of none."""
    shape = (*differences.shape[:-2], len(families.kinds))
    size, mean = np.full(shape, np.nan), np.full(shape, np.nan)
    for h, own in enumerate(families.members):
        flat = differences[..., own, :].reshape(*differences.shape[:-2], -1)
        ordered = np.sort(flat, axis=-1)  # nan last
        n = (~np.isnan(flat)).sum(-1, keepdims=True)
        place = np.arange(flat.shape[-1])
        cut = np.floor(n / 4)
        for out, inner in ((size, (place >= cut) & (place < n - cut)), (mean, place < n)):
            with np.errstate(invalid="ignore", divide="ignore"):
                out[..., h] = np.where(inner, ordered, 0.0).sum(-1) / inner.sum(-1)
    return size, mean


def compare_sessions(arms: Sequence[PairedArm], scales: Mapping[str, float]) -> Comparison:
    """Compare two sessions by their ``arms``, with ``scales`` in percentage points by stratum.

    Of a stratum without a scale the largest known one is taken. ValueError without any arm or
    scale, or for a metric that is not known.
    """
    if not arms or not scales:
        raise ValueError(f"{len(arms)} arms and {len(scales)} scales: neither may be empty")
    if odd := [arm for arm in arms if arm.metric not in _METRICS]:
        raise ValueError(f"metric must be one of {', '.join(_METRICS)}, got {odd[0].metric!r}")
    families = Families.of([(a.id, a.strategy, a.stratum, a.metric) for a in arms])
    seeds = sorted({seed for arm in arms for seed in arm.differences})
    used = {a.stratum: scales.get(a.stratum, max(scales.values())) for a in arms}
    differences = np.array([[a.differences.get(s, math.nan) for s in seeds] for a in arms])
    broken = np.array(
        [[float(s in a.diverged_before) - (s in a.diverged_now) for s in seeds] for a in arms]
    )
    each = np.array([used[a.stratum] for a in arms])
    tested = shifts(
        families, differences.reshape(len(arms), -1), broken.reshape(len(arms), -1), each
    )
    return Comparison(tuple(_tests(arms, families, tested)), used)


def _tests(arms: Sequence[PairedArm], families: Families, tested: Shifts) -> list[Shift]:
    result = []
    for h, (family, name, metric) in enumerate(families.kinds):
        own = [arm for arm, member in zip(arms, families.members[h], strict=True) if member]
        total, size = float(tested.total[h]), float(tested.size[h])
        worse = total > 0 if metric == "asr" else total < 0
        direction = "none" if total == 0 else "worse" if worse else "better"
        diverged = [
            sum(len(getattr(arm, which) & set(arm.differences)) for arm in own)
            for which in ("diverged_before", "diverged_now")
        ]
        result.append(
            Shift(
                family,
                name,
                metric,
                direction,
                size if math.isfinite(size) else None,
                float(tested.mean[h]) if math.isfinite(size) else None,
                total,
                int(tested.pairs[h]),
                float(tested.p[h]),
                float(tested.adjusted[h]),
                bool(tested.found[h]),
                tuple(arm.id for arm in own),
                (diverged[0], diverged[1]),
            )
        )
    return result
