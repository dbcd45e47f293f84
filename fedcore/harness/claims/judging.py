"""Judging a claim: from the records of its runs to a verdict at the looks that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import Contrast, Role
from fedcore.harness.claims.horizons import level, rising
from fedcore.harness.claims.rule import Finding, Row, combined, decide
from fedcore.harness.proofs.arms import Proofs, seeds_alike
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import unproven
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.looks import LOOKS, due
from fedcore.harness.statistics.simultaneous import simultaneous
from fedcore.harness.suite.outcome import no_twin, strange, unpaired
from fedcore.harness.suite.skill import LEARNS, tail_skill
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Curve:
    """The accuracies of ``scenario`` in ``seed``, shares in [0, 1], after each of ``rounds``."""

    scenario: Scenario
    seed: int
    rounds: tuple[int, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class ClaimOutcome:
    """The judgement of ``claim`` on ``seeds``.

    ``findings`` are, by horizon, those of the last look that was due (`looks.due`), or of all seeds
    where these are too few for a look. ``look`` is the first look at which the claim was decided,
    else the last one; 0 where none was due. ``reason`` explains the verdict. ``findings`` and
    ``curves`` are empty where there are ``errors``. ``diverged`` names runs that left the finite
    numbers and count at chance, ``unskilled`` clean arms that learned nothing, ``unproven`` runs of
    which nobody noted what they trained on.
    """

    claim: Claim
    seeds: tuple[int, ...]
    look: int
    findings: tuple[Finding, ...]
    verdict: ClaimVerdict
    reason: str
    errors: tuple[str, ...]
    diverged: tuple[str, ...]
    unskilled: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()


def judge_claim(
    claim: Claim,
    seeds: Sequence[int],
    results: Mapping[Run, Record | Failure],
    proofs: Proofs | None = None,
) -> ClaimOutcome:
    """The outcome of ``claim`` from the results of its runs on ``seeds``.

    Each look that is due takes the first of ``seeds``; the first at which the claim is decided
    gives the verdict. ``proofs`` as of `fedcore.harness.suite.outcome.judge_cell`: its runs answer
    for the same.
    """
    seeds = tuple(seeds)
    proofs = proofs or Proofs()
    records: dict[Run, Record] = {}
    errors: list[str] = []
    for run in claim.runs(seeds):
        result = results[run]
        if isinstance(result, Failure):
            errors.append(f"{run.id}: {result.message}")
        else:
            records[run] = result
    diverged = tuple(
        f"{run.id} in round {r.diverged}" for run, r in records.items() if r.diverged is not None
    )
    if not errors:
        for run, record in records.items():
            errors += strange(run, record) or audit_problems(record) or proofs.problems(record)
        if not errors:
            for scenario in claim.scenarios:
                errors += seeds_alike({seed: records[Run(scenario, seed)] for seed in seeds})
        errors += _unpaired(claim, seeds, records)
    if errors:
        return ClaimOutcome(
            claim, seeds, 0, (), ClaimVerdict.ERROR, errors[0], tuple(errors), diverged
        )
    measured = {
        Run(arm, seed): records[Run(claim.measured(arm), seed)]
        for arm in claim.arms
        for seed in seeds
    }
    look, findings, verdict, reason, unskilled = _over_looks(claim, seeds, measured)
    return ClaimOutcome(
        claim, seeds, look, findings, verdict, reason, (), diverged, unskilled,
        tuple(filter(None, map(unproven, records.values()))),
        tuple(Curve(run.scenario, run.seed, r.rounds, r.accuracy) for run, r in records.items()),
    )  # fmt: skip


def _over_looks(
    claim: Claim, seeds: tuple[int, ...], records: Mapping[Run, Record]
) -> tuple[int, tuple[Finding, ...], ClaimVerdict, str, tuple[str, ...]]:
    """Look, findings, verdict, reason and unskilled arms."""
    looks = due(len(seeds))
    if not looks:
        findings = _findings(claim, seeds, LOOKS[0], records)
        reason = f"no look yet: {len(seeds)} seeds, the first is at {LOOKS[0]}"
        return 0, findings, ClaimVerdict.UNDECIDED, reason, ()
    decided = None
    for look in looks:
        some = seeds[:look]
        findings = _findings(claim, some, look, records)
        unskilled = _unskilled(claim, some, records)
        verdict, reason = combined(findings)
        if unskilled:
            verdict, reason = ClaimVerdict.UNDECIDED, "a clean arm has learned nothing"
        if decided is None and verdict is not ClaimVerdict.UNDECIDED:
            decided = look, verdict, reason
    look, verdict, reason = decided or (look, verdict, reason)
    return look, findings, verdict, reason, unskilled


def _findings(
    claim: Claim, seeds: Sequence[int], look: int, records: Mapping[Run, Record]
) -> tuple[Finding, ...]:
    """What the first seeds say at each horizon of ``claim``."""
    estimands = [
        (contrast, name, effect)
        for contrast in claim.contrasts
        for name, effect in contrast.estimands.items()
    ]
    refuting = [c for c, _, _ in estimands if c.role in (Role.DECIDES, Role.GUARDS)]
    findings = []
    for horizon in claim.reached:
        levels = {
            Run(arm, seed): level(records[Run(arm, seed)], horizon)
            for arm in claim.arms
            for seed in seeds
        }
        values = np.array([[e.of(levels, s) for _, _, e in estimands] for s in seeds])
        spans = simultaneous(values, look, family=len(refuting))
        open_arms = {
            arm: rising([records[Run(arm, seed)] for seed in seeds], horizon) for arm in claim.arms
        }
        rows = tuple(
            Row(
                contrast,
                name,
                tuple(map(float, values[:, i])),
                spans.mean[i],
                spans.sd[i],
                spans.each[i],
                spans.together[i],
                _rising(claim, contrast, open_arms),
            )
            for i, (contrast, name, _) in enumerate(estimands)
        )
        findings.append(decide(claim, horizon, rows))
    return tuple(findings)


def _rising(
    claim: Claim, contrast: Contrast, reasons: Mapping[Scenario, str | None]
) -> tuple[str, ...]:
    """The arms of ``contrast``, by both estimands, that have not converged."""
    arms = (arm for arm, _ in contrast.effect.terms)
    return tuple(
        f"{claim.measured(arm).id} {text}" for arm in arms if (text := reasons[arm]) is not None
    )


def _unskilled(
    claim: Claim, seeds: Sequence[int], records: Mapping[Run, Record]
) -> tuple[str, ...]:
    """Clean arms of what decides, guards or controls that are no better than guessing."""
    counted = [c for c in claim.contrasts if c.role is not Role.REPORTED]
    clean = {s: None for c in counted for s, _ in c.effect.terms if s.attack is None}
    skill = {s: fmean(tail_skill(records[Run(s, seed)]) or 0.0 for seed in seeds) for s in clean}
    return tuple(
        f"{scenario.id}: balanced accuracy {100 * value:.1f} % of the way from guessing to no "
        f"error, less than {100 * LEARNS:g}"
        for scenario, value in skill.items()
        if value < LEARNS
    )


def _unpaired(claim: Claim, seeds: Sequence[int], records: Mapping[Run, Record]) -> list[str]:
    """Poisoned runs and clean twins, and compared arms, that fail to share what they should."""
    found = []
    compared = dict.fromkeys(
        tuple(map(claim.measured, pair)) for c in claim.contrasts for pair in c.compared
    )
    for seed in seeds:
        for scenario in claim.scenarios:
            twin = Run(scenario.clean_twin(), seed)
            if scenario.attack is not None and twin in records:
                pair = records[twin], records[Run(scenario, seed)]
                found += no_twin(*pair) or unpaired(*pair)
        for a, b in compared:
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
