"""Contrasts: what a claim measures, as weighted sums of tail accuracies within each seed.

    drop(poisoned)                           what the attack costs an arm
    drop(skewed) - drop(iid)                 what heterogeneity adds to that
    slope([drop(iid), drop(a), drop(b)])     how fast it grows over ordered levels

All arms of a seed share what they can (initial weights, cohorts, malicious set), so that these
differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from fedcore.harness.suite.comparability import confounds, require_comparable
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario

#: What sets a poisoned arm apart from its clean twin.
ATTACK = frozenset({"attack", "malicious_fraction", "poison_ratio", "probe"})


@dataclass(frozen=True)
class Effect:
    """A weighted sum of tail accuracies in percent: (scenario, weight) without repetition."""

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

    def of(self, records: Mapping[Run, Record], seed: int) -> float:
        """The effect in ``seed``, in percentage points. KeyError for a run that is missing."""
        return math.fsum(
            100 * weight * records[Run(scenario, seed)].tail_accuracy
            for scenario, weight in self.terms
        )


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


class Role(Enum):
    """What a contrast has to say about its claim.

    DECIDES: must hold for the claim to be supported; significantly against it, it refutes.
    GUARDS: need not be shown; significantly against the claim, it refutes. CONTROL: must be
    significantly above 0, or nothing is supported (an attack that is off costs nothing).
    REPORTED: shown only.
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
