"""Contrasts: what a claim measures, as weighted sums of accuracies within each seed.

    drop(poisoned)                           what the attack costs an arm
    drop(skewed) - drop(iid)                 what heterogeneity adds to that
    slope([drop(iid), drop(a), drop(b)])     how fast it grows over ordered levels

All arms of a seed share what they can (initial weights, cohorts, malicious set), so that these
differences are paired. Each is taken of two estimands, the drop and the poisoned accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from fedcore.harness.suite.comparability import confounds, require_comparable
from fedcore.records.store import Run
from fedcore.scenario import Scenario

#: The estimands: what the attack costs, where the attacked arms end, and both in one.
DROP, ACCURACY, BOTH = "drop", "accuracy", "both"
#: What sets a poisoned arm apart from its clean twin.
ATTACK = frozenset({"attack", "malicious_fraction", "malicious_set", "poison_ratio", "probe"})


@dataclass(frozen=True)
class Effect:
    """A weighted sum of accuracies in percent: (scenario, weight) without repetition."""

    terms: tuple[tuple[Scenario, float], ...]

    def __add__(self, other: Effect) -> Effect:
        total: dict[Scenario, float] = {}
        for scenario, weight in (*self.terms, *other.terms):
            total[scenario] = total.get(scenario, 0.0) + weight
        return Effect(tuple((s, w) for s, w in total.items() if abs(w) > 1e-12))

    def __mul__(self, factor: float) -> Effect:
        return Effect(tuple((scenario, factor * weight) for scenario, weight in self.terms))

    __rmul__ = __mul__

    def __sub__(self, other: Effect) -> Effect:
        return self + -1.0 * other

    def of(self, levels: Mapping[Run, float], seed: int) -> float:
        """The effect in ``seed``, in points; ``levels`` are accuracies in percent by arm and seed.

        KeyError for a run that is missing.
        """
        return math.fsum(weight * levels[Run(arm, seed)] for arm, weight in self.terms)

    @property
    def poisoned(self) -> Effect | None:
        """The same of the poisoned arms alone, in which what is lost counts positive, too.

        None where that compares nothing: with its own clean twin an arm is compared by the drop.
        """
        terms = tuple((arm, weight) for arm, weight in self.terms if arm.attack is not None)
        compares = terms and abs(math.fsum(weight for _, weight in terms)) < 1e-9
        return Effect(terms) if compares else None


def drop(poisoned: Scenario) -> Effect:
    """Clean minus poisoned, paired. ValueError for a scenario without attack."""
    if poisoned.attack is None:
        raise ValueError(f"{poisoned.id} has no attack: it is its own clean twin")
    return Effect(((poisoned.clean_twin(), 1.0), (poisoned, -1.0)))


def average(effects: Sequence[Effect]) -> Effect:
    """The mean of ``effects``. ValueError for none."""
    if not effects:
        raise ValueError("an average needs at least one effect")
    total = effects[0]
    for effect in effects[1:]:
        total = total + effect
    return (1 / len(effects)) * total


def slope(effects: Sequence[Effect]) -> Effect:
    """Least-squares slope of ``effects`` over the levels 0, 1, 2, ...: points per level.

    ValueError for fewer than two.
    """
    n = len(effects)
    if n < 2:
        raise ValueError(f"a slope needs at least two levels, got {n}")
    middle = (n - 1) / 2
    scale = sum((level - middle) ** 2 for level in range(n))
    return n * average([(level - middle) / scale * e for level, e in enumerate(effects)])


def rise(effects: Sequence[Effect]) -> Effect:
    """What the least-squares line through ``effects`` gains from the first level to the last.

    In points, as the difference of any two arms, so that one margin serves both.
    """
    return (len(effects) - 1) * slope(effects)


class Role(Enum):
    """What a contrast has to say about its claim.

    DECIDES: must hold for the claim to be supported; beyond the margin against it, it refutes.
    GUARDS: need not be shown; beyond the margin against the claim, it refutes. CONTROL: must be
    above 0, or nothing is supported, and above the margin, or nothing is equivalent (an attack that
    is off costs nothing, and all arms alike). REPORTED: shown only.
    """

    DECIDES = "decides"
    GUARDS = "guards"
    CONTROL = "control"
    REPORTED = "reported"


@dataclass(frozen=True)
class Contrast:
    """A named effect, the pairs of arms behind it and the factor in which these may differ."""

    name: str
    effect: Effect
    role: Role
    compared: tuple[tuple[Scenario, Scenario], ...]
    factor: frozenset[str]

    @property
    def estimands(self) -> dict[str, Effect]:
        """What is measured, by name: `DROP` and `ACCURACY`, or `BOTH` where they are one number."""
        other = self.effect.poisoned
        if other is None or dict(other.terms) == dict(self.effect.terms):
            return {BOTH: self.effect}
        return {DROP: self.effect, ACCURACY: other}

    @property
    def confounds(self) -> tuple[str, ...]:
        """Differences beyond the factor, over all compared pairs."""
        found = (text for a, b in self.compared for text in confounds(a, b, self.factor))
        return tuple(dict.fromkeys(found))

    def check(self) -> None:
        """Raise `ConfoundError` where a compared pair differs in more, or in nothing."""
        for a, b in self.compared:
            require_comparable(f"{self.name!r} ({a.id} with {b.id})", a, b, self.factor)


def costs_more(
    name: str, a: Scenario, b: Scenario, factor: Collection[str], role: Role = Role.DECIDES
) -> Contrast:
    """drop(a) - drop(b), where ``a`` and ``b`` differ in ``factor``."""
    return Contrast(name, drop(a) - drop(b), role, ((a, b),), frozenset(factor))


def costs(name: str, poisoned: Scenario, role: Role = Role.DECIDES) -> Contrast:
    """drop(poisoned); the factor is the attack."""
    return Contrast(name, drop(poisoned), role, ((poisoned, poisoned.clean_twin()),), ATTACK)


def combined(
    name: str, effect: Effect, parts: Sequence[Contrast], role: Role = Role.DECIDES
) -> Contrast:
    """An ``effect`` made of ``parts``, whose pairs and factors it inherits."""
    pairs = dict.fromkeys(pair for part in parts for pair in part.compared)
    factor = frozenset(field for part in parts for field in part.factor)
    return Contrast(name, effect, role, tuple(pairs), factor)
