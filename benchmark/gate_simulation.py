"""What the gate for other machines finds, and what the intervals cover: simulated.

The simulated sessions have the arms, partitions and accuracies of the recorded baseline of
mnist5k. Their differences between two machines are the recorded ones of real platforms, drawn with
replacement and a random sign; or normal, or Cauchy-like, with the scales of the gate; or the
recorded ones with 3 % of the runs diverging on either side. `fedcore.harness.statistics.portable`
and `estimates.estimate` judge them: the product's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fedcore.harness.baselines.file import Baseline
from fedcore.harness.statistics.estimates import Noise, estimate
from fedcore.harness.statistics.portable import ALL, ARM, GROUP, Families, Shifts, shifts
from fedcore.harness.statistics.prior import Trend
from fedcore.harness.statistics.scales import platform_scales

from .noise import difference_files, replicates, sources

Values = npt.NDArray[np.float64]

CHANCE = 10.0
#: Share of the runs that diverge, on either side.
DIVERGING = 0.03
#: Median of |z| of a standard normal z: a normal and a Cauchy noise of one scale share the median.
_MEDIAN = 0.6745


@dataclass(frozen=True)
class Arms:
    """Arms of a session: (id, strategy, stratum, metric) of each, and their accuracies [arms]."""

    names: tuple[tuple[str, str, str, str], ...]
    levels: Values

    @classmethod
    def recorded(cls) -> Arms:
        """Those of the recorded baseline of mnist5k."""
        names: dict[tuple[str, str, str, str], float] = {}
        for cell, entry in Baseline.read(sources()[0]).entries.items():
            strategy, partition = (str(entry.scenario[f]) for f in ("strategy", "partition"))
            for metric in ("poisoned" if "poisoned" in entry.values else "clean", "asr"):
                values = list(entry.values.get(metric, {}).values())
                if values:
                    of = ("asr", "asr") if metric == "asr" else (partition, "accuracy")
                    names[(cell, strategy, *of)] = sum(values) / len(values)
        return cls(tuple(names), np.array(list(names.values())))

    @cached_property
    def families(self) -> Families:
        """The hypotheses of the gate."""
        return Families.of(self.names)

    @cached_property
    def scales(self) -> Values:
        """The gate's scale of each arm, [arms], in points."""
        known = platform_scales()
        return np.array([known[name[2]] for name in self.names])

    def those(self, choose: Callable[[str, str, str, str], bool]) -> Values:
        """1 for the arms that ``choose`` takes by (id, strategy, stratum, metric), else 0."""
        return np.array([float(choose(*name)) for name in self.names])


#: Draws differences [sessions, arms, seeds] in points.
Draw = Callable[[np.random.Generator, Arms, int, int], Values]


def normal(rng: np.random.Generator, arms: Arms, sessions: int, seeds: int) -> Values:
    """Normal differences whose median size is the gate's scale."""
    drawn = rng.standard_normal((sessions, len(arms.names), seeds))
    return np.asarray(drawn * arms.scales[:, None] / _MEDIAN)


def cauchy(rng: np.random.Generator, arms: Arms, sessions: int, seeds: int) -> Values:
    """What the gate's null hypothesis says, at its full scale; no accuracy moves by over 90."""
    drawn = rng.standard_cauchy((sessions, len(arms.names), seeds)) * arms.scales[:, None]
    return np.asarray(drawn.clip(-90, 90))


def resampled(platform: str) -> Draw:
    """Recorded differences of ``platform``, of the arm's stratum, with a random sign."""
    known: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for name, stratum, *_, difference in replicates(difference_files()):
        (known if name == platform else others).setdefault(stratum, []).append(difference)
    known = {**others, **known}  # of a stratum that the platform lacks those of the others

    def draw(rng: np.random.Generator, arms: Arms, sessions: int, seeds: int) -> Values:
        found = np.empty((sessions, len(arms.names), seeds))
        for i, name in enumerate(arms.names):
            found[:, i] = rng.choice(known[name[2]], (sessions, seeds))
        return np.asarray(found * rng.choice([-1.0, 1.0], found.shape))

    return draw


def platforms() -> tuple[str, ...]:
    """The platforms whose differences are recorded."""
    return tuple(dict.fromkeys(name for name, *_ in replicates(difference_files())))


def session(
    draw: Draw,
    arms: Arms,
    sessions: int,
    seeds: int,
    shift: Values | float = 0.0,
    diverging: tuple[float, float] = (0.0, 0.0),
    seed: int = 20261128,
) -> Shifts:
    """Judge ``sessions`` of ``seeds`` whose arms have moved by ``shift`` [arms] points.

    ``diverging`` are the shares of runs that diverge before and now: they count at chance.
    """
    rng = np.random.default_rng(seed)
    moved = draw(rng, arms, sessions, seeds) + np.broadcast_to(shift, arms.levels.shape)[:, None]
    accuracy = arms.those(lambda *name: name[3] == "accuracy")[:, None] > 0
    before, now = (accuracy & (rng.random(moved.shape) < share) for share in diverging)
    fall = CHANCE - arms.levels[:, None]
    moved = np.where(now & ~before, fall, np.where(before & ~now, -fall, moved))
    moved = np.where(before & now, 0.0, moved)
    return shifts(arms.families, moved, before.astype(float) - now, arms.scales)


def rate(found: Shifts, family: str | None = None, families: Families | None = None) -> float:
    """The share of sessions with a finding (in ``family`` of ``families``)."""
    wanted = [True] * found.found.shape[-1]
    if family is not None and families is not None:
        wanted = [kind[0] == family for kind in families.kinds]
    return float(found.found[..., wanted].any(-1).mean())


def power(
    draw: Draw, arms: Arms, sessions: int, seeds: int, shift: Values, diverging: float = 0.0
) -> float:
    """The share of sessions in which a shift of the shifted arms is found, in its direction.

    A finding counts where its family holds a shifted arm and its direction is the shift's.
    """
    found = session(draw, arms, sessions, seeds, shift, (diverging, diverging))
    families = arms.families
    touched = families.members.astype(float) @ (shift != 0) > 0
    way = np.sign(families.members.astype(float) @ shift)
    right = found.found & touched & (np.sign(found.total) == way)
    shift_families = np.array([kind[0] in (ALL, GROUP, ARM) for kind in families.kinds])
    return float((right & shift_families).any(-1).mean())


def needed(draw: Draw, arms: Arms, sessions: int, seeds: int, of: Values) -> float:
    """The loss in points of the arms ``of`` [arms] that 80 % of sessions find; inf beyond 90."""
    low, high = 0.05, 90.0
    if power(draw, arms, sessions, seeds, -high * of) < 0.8:
        return float("inf")
    while high / low > 1.08:
        middle = (low * high) ** 0.5
        if power(draw, arms, sessions, seeds, -middle * of) < 0.8:
            low = middle
        else:
            high = middle
    return high


def coverage(
    prior: Noise, sds: Iterable[float], seeds: int, kind: str, seed: int = 20261129
) -> float:
    """The share of 90 % intervals around their true mean, in cells that deviate by ``sds``.

    ``kind``: "normal", "heavy-tailed" (t with 3 degrees of freedom, of the same deviation) or
    "diverging" (normal, and 3 % of the runs lie 50 points lower; the true mean counts them).
    """
    rng = np.random.default_rng(seed)
    covered = []
    for sd in sds:
        if kind == "heavy-tailed":
            values = sd * rng.standard_t(3, seeds) / 3**0.5
        else:
            values = sd * rng.standard_normal(seeds)
        truth = 0.0
        if kind == "diverging":
            values = np.where(rng.random(seeds) < DIVERGING, values - 50, values)
            truth = -50 * DIVERGING
        found = estimate(values.tolist(), prior)
        covered.append(found.low <= truth <= found.high)
    return float(np.mean(covered))


def deviations(trend: Trend, mean: float, count: int, seed: int = 20261130) -> Values:
    """Deviations [count] of cells of a stratum as its prior says: sd^2 = s0^2 d0 / chi^2(d0)."""
    known = trend.at(mean)
    if np.isinf(trend.spread):
        return np.full(count, known.sd)
    rng = np.random.default_rng(seed)
    return np.asarray(known.sd * np.sqrt(trend.spread / rng.chisquare(trend.spread, count)))


def strategies(arms: Arms) -> Mapping[str, int]:
    """How many accuracies each strategy has, the most first."""
    names = [name[1] for name in arms.names if name[3] == "accuracy"]
    return dict(sorted(((s, names.count(s)) for s in dict.fromkeys(names)), key=lambda x: -x[1]))
