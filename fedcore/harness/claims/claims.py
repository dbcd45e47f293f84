"""Claims: statements about what poisoning costs, with the margin that makes a difference count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from fedcore.errors import FedcoreError
from fedcore.harness.claims.contrasts import Contrast, Role
from fedcore.harness.statistics.looks import ERROR, LOOKS
from fedcore.records.store import Run
from fedcore.scenario import Scenario

#: Of the decision rule of `fedcore.harness.claims.rule`: part of the definition of every claim.
RULE = 2


class ClaimError(FedcoreError, ValueError):
    """A claim that is not well formed, or a record of verdicts that cannot be read."""


class ClaimVerdict(Enum):
    """What the runs say about a claim. ERROR: runs failed or are no pairs."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Claim:
    """``statement``, about the effects of ``contrasts``: above (or below) ``margin`` points.

    ``margin`` is the least difference that counts, and ``because`` says why: with a margin of 0 any
    trifle decides in the end. The rule is `fedcore.harness.claims.rule.decide`. A claim "under all
    conditions" lets each condition decide, a claim "on average" lets the average decide and the
    conditions guard. ``seeds`` is what a session makes at most.

    ``horizons`` are numbers of rounds: the runs have those of the last one, and are judged after
    each. Without any, arms are judged at the end of their own rounds. ``as_published`` arms may
    differ in more than the factor, and the table then says so; in any other claim that raises
    `ConfoundError`. ClaimError for a claim that is not well formed.
    """

    name: str
    statement: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    margin: float = 1.0
    below: bool = False
    as_published: bool = False
    horizons: tuple[int, ...] = ()
    because: str = "less than a point is of no consequence"

    def __post_init__(self) -> None:
        names = [contrast.name for contrast in self.contrasts]
        if len(set(names)) < len(names):
            raise ClaimError(f"claim {self.name}: contrast names must differ, got {names}")
        if not any(contrast.role is Role.DECIDES for contrast in self.contrasts):
            raise ClaimError(f"claim {self.name}: at least one contrast must decide")
        if not self.margin > 0:
            raise ClaimError(
                f"claim {self.name}: the margin must be > 0 points, got {self.margin:g}: with none "
                "any trifle decides in the end"
            )
        if any(a >= b for a, b in zip((0, *self.horizons), self.horizons, strict=False)):
            raise ClaimError(
                f"claim {self.name}: horizons must be rising numbers of rounds, got {self.horizons}"
            )
        if not self.as_published:
            for contrast in self.contrasts:
                contrast.check()

    @property
    def rule(self) -> str:
        """The decision rule, as printed."""
        return f"{'<' if self.below else '>'} {self.margin:g} pp"

    @property
    def arms(self) -> tuple[Scenario, ...]:
        """Every arm that the contrasts name, once, in the order of use."""
        terms = (scenario for c in self.contrasts for scenario, _ in c.effect.terms)
        return tuple(dict.fromkeys(terms))

    @property
    def reached(self) -> tuple[int, ...]:
        """The horizons, or the most rounds of an arm."""
        return self.horizons or (max(arm.rounds for arm in self.arms),)

    def measured(self, arm: Scenario) -> Scenario:
        """The scenario that is run for ``arm``: with the rounds of the last horizon."""
        return arm.but(rounds=self.horizons[-1]) if self.horizons else arm

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What is run for every arm."""
        return tuple(dict.fromkeys(map(self.measured, self.arms)))

    def runs(self, seeds: Sequence[int]) -> list[Run]:
        """The distinct runs that judging this claim on ``seeds`` needs."""
        return [Run(scenario, seed) for seed in seeds for scenario in self.scenarios]

    @cached_property
    def definition(self) -> str:
        """12 hexadecimal digits over all that the verdict depends on, but seeds and code."""
        parts = [
            (c.name, c.role.value, [(s.hash, round(w, 9)) for s, w in c.effect.terms])
            for c in self.contrasts
        ]
        text = json.dumps([RULE, LOOKS, ERROR, self.margin, self.below, self.horizons, parts])
        return hashlib.sha256(text.encode()).hexdigest()[:12]
