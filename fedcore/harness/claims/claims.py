"""Claims: statements about what poisoning costs, decided by simultaneous intervals over seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from statistics import fmean

import numpy as np

from fedcore.errors import FedcoreError
from fedcore.harness.claims.contrasts import Contrast, Role
from fedcore.harness.proofs.arms import Proofs, seeds_alike
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import unproven
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.simultaneous import Intervals, simultaneous
from fedcore.harness.suite.outcome import no_twin, strange, unpaired
from fedcore.harness.suite.skill import LEARNS, tail_skill
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario


class ClaimError(FedcoreError, ValueError):
    """A claim that is not well formed, or a record of verdicts that cannot be read."""


class ClaimVerdict(Enum):
    """What the runs say about a claim. ERROR: runs failed or are no pairs."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Claim:
    """``statement``, about the effects of ``contrasts``: above (or below) ``margin`` points.

    With the simultaneous intervals of all contrasts, whatever their role:

    - *refuted* if of any contrast that decides or guards the whole interval lies on the wrong
      side of the margin;
    - *supported* if of every contrast that decides it lies on the right side, and of every
      control above 0;
    - *undecided* otherwise, and wherever a clean arm of theirs has learned nothing: what an attack
      takes from guessing decides no claim.

    So a claim "under all conditions" lets each condition decide, a claim "on average" lets the
    average decide and the conditions guard. ``as_published`` arms may differ in more than the
    factor, and the table then says so; in any other claim that raises `ConfoundError`.
    """

    name: str
    statement: str
    contrasts: tuple[Contrast, ...]
    seeds: int
    margin: float = 0.0
    below: bool = False
    as_published: bool = False

    def __post_init__(self) -> None:
        names = [contrast.name for contrast in self.contrasts]
        if len(set(names)) < len(names):
            raise ClaimError(f"claim {self.name}: contrast names must differ, got {names}")
        if not any(contrast.role is Role.DECIDES for contrast in self.contrasts):
            raise ClaimError(f"claim {self.name}: at least one contrast must decide")
        if not self.as_published:
            for contrast in self.contrasts:
                contrast.check()

    @property
    def rule(self) -> str:
        """The decision rule, as printed."""
        return f"{'<' if self.below else '>'} {self.margin:g} pp"

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Every arm, once, in the order of use."""
        terms = (scenario for c in self.contrasts for scenario, _ in c.effect.terms)
        return tuple(dict.fromkeys(terms))

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
        text = json.dumps([self.margin, self.below, parts])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ClaimOutcome:
    """The judgement of ``claim`` on ``seeds``; ``values`` are [contrast][seed], in points.

    ``intervals`` is None and ``values`` empty where there are ``errors``. ``diverged`` names runs
    that left the finite numbers and count at chance, ``unskilled`` clean arms that learned nothing,
    ``unproven`` runs of which nobody noted what they trained on.
    """

    claim: Claim
    seeds: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    intervals: Intervals | None
    verdict: ClaimVerdict
    errors: tuple[str, ...]
    diverged: tuple[str, ...]
    unskilled: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()


def decide(claim: Claim, intervals: Intervals) -> ClaimVerdict:
    """The verdict of ``claim``, whose contrasts have ``intervals``, by the rule of `Claim`."""
    holds: dict[Role, list[bool]] = {role: [] for role in Role}
    for contrast, low, high in zip(claim.contrasts, intervals.low, intervals.high, strict=True):
        right = high < claim.margin if claim.below else low > claim.margin
        wrong = low > claim.margin if claim.below else high < claim.margin
        if wrong and contrast.role in (Role.DECIDES, Role.GUARDS):
            return ClaimVerdict.REFUTED
        holds[contrast.role].append(low > 0 if contrast.role is Role.CONTROL else right)
    supported = all(holds[Role.DECIDES]) and all(holds[Role.CONTROL])
    return ClaimVerdict.SUPPORTED if supported else ClaimVerdict.UNDECIDED


def judge_claim(
    claim: Claim,
    seeds: Sequence[int],
    results: Mapping[Run, Record | Failure],
    proofs: Proofs | None = None,
) -> ClaimOutcome:
    """The outcome of ``claim`` from the results of its runs on ``seeds``.

    ``proofs`` as of `fedcore.harness.suite.outcome.judge_cell`: its runs answer for the same.
    """
    proofs = proofs or Proofs()
    records: dict[Run, Record] = {}
    errors: list[str] = []
    for run in claim.runs(seeds):
        result = results[run]
        if isinstance(result, Failure):
            errors.append(f"{run.id}: {result.message}")
        else:
            records[run] = result
    diverged = [
        f"{run.id} in round {r.diverged}" for run, r in records.items() if r.diverged is not None
    ]
    if not errors:
        for run, record in records.items():
            errors += strange(run, record) or audit_problems(record) or proofs.problems(record)
        if not errors:
            for scenario in claim.scenarios:
                errors += seeds_alike({seed: records[Run(scenario, seed)] for seed in seeds})
        errors += _unpaired(claim, seeds, records)
    if errors:
        return ClaimOutcome(
            claim, tuple(seeds), (), None, ClaimVerdict.ERROR, tuple(errors), tuple(diverged)
        )
    values = tuple(tuple(c.effect.of(records, seed) for seed in seeds) for c in claim.contrasts)
    intervals = simultaneous(np.array(values).T)
    unskilled = _unskilled(claim, seeds, records)
    verdict = ClaimVerdict.UNDECIDED if unskilled else decide(claim, intervals)
    return ClaimOutcome(
        claim, tuple(seeds), values, intervals, verdict, (), tuple(diverged), tuple(unskilled),
        tuple(filter(None, map(unproven, records.values()))),
    )  # fmt: skip


def _unskilled(claim: Claim, seeds: Sequence[int], records: Mapping[Run, Record]) -> list[str]:
    """Clean arms of what decides, guards or controls that are no better than guessing."""
    counted = [c for c in claim.contrasts if c.role is not Role.REPORTED]
    clean = {s: None for c in counted for s, _ in c.effect.terms if s.attack is None}
    skill = {s: fmean(tail_skill(records[Run(s, seed)]) or 0.0 for seed in seeds) for s in clean}
    return [
        f"{scenario.id}: balanced accuracy {100 * value:.1f} % of the way from guessing to no "
        f"error, less than {100 * LEARNS:g}"
        for scenario, value in skill.items()
        if value < LEARNS
    ]


def _unpaired(claim: Claim, seeds: Sequence[int], records: Mapping[Run, Record]) -> list[str]:
    """Poisoned runs and clean twins, and compared arms, that fail to share what they should."""
    found = []
    for seed in seeds:
        for scenario in claim.scenarios:
            twin = Run(scenario.clean_twin(), seed)
            if scenario.attack is not None and twin in records:
                pair = records[twin], records[Run(scenario, seed)]
                found += no_twin(*pair) or unpaired(*pair)
        for a, b in dict.fromkeys(pair for c in claim.contrasts for pair in c.compared):
            runs = (Run(a, seed), Run(b, seed))
            if a.attack is None or b.attack is None or not all(run in records for run in runs):
                continue
            first, second = (records[run].audit for run in runs)
            if first.cohorts != second.cohorts:
                found.append(f"{runs[0].id} and {runs[1].id} have different cohorts")
            few, many = sorted((first.malicious, second.malicious), key=len)
            if not set(few) <= set(many):
                found.append(f"{runs[0].id} and {runs[1].id} have different malicious clients")
    return found
