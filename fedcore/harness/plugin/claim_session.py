"""What a pytest session does with claims: start their runs, judge them, check and report them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest

from fedcore.harness.claims.claims import Claim, judge_claim
from fedcore.harness.claims.files import write_claims
from fedcore.harness.claims.records import ClaimFile, agreement, subject
from fedcore.harness.claims.report import Judged
from fedcore.harness.plugin.checked import repeat
from fedcore.harness.plugin.options import OPTIONS
from fedcore.harness.plugin.session import SESSION, SuiteSession, origin_of
from fedcore.harness.plugin.unwritten import unwritten
from fedcore.records.store import StoreWarning


def seeds_of(suite: SuiteSession, claim: Claim) -> tuple[int, ...]:
    """The seeds that ``claim`` is judged on: ``--seeds``, else its own number."""
    return tuple(range(suite.options.seeds or claim.seeds))


def start(suite: SuiteSession, claims: Sequence[Claim]) -> None:
    """Set the workers on what ``claims`` need beyond what is planned, and say what that is.

    UsageError where data are missing, or no engine fits, so that no run can be made.
    """
    lab = suite.lab
    runs = dict.fromkeys(run for claim in claims for run in claim.runs(seeds_of(suite, claim)))
    suite.require_dealt(
        {s: len(seeds_of(suite, claim)) for claim in claims for s in claim.scenarios}
    )
    before = lab.progress
    suite.begin(runs)
    suite.require_any()
    now = lab.progress
    added, stored = now.planned - before.planned, now.stored - before.stored
    suite.say(
        f"fedcore: {len(claims)} claims need {len(runs)} runs, {len(runs) - added} of them planned "
        f"for cells, {stored} stored, {added - stored} to make"
    )


def judge(suite: SuiteSession, claim: Claim, records: ClaimFile) -> CheckedClaim:
    """The judged ``claim`` beside its record, once its runs are done."""
    seeds = seeds_of(suite, claim)
    with warnings.catch_warnings():
        warnings.simplefilter("always", StoreWarning)  # a warning even under -W error
        results = {run: suite.lab.result(run, suite._tick) for run in claim.runs(seeds)}
    outcome = judge_claim(claim, seeds, results, suite.lab.proofs)
    name, profile = subject(suite.options), suite.options.profile
    recorded = records.get((name, profile, claim.name))
    machine = suite.lab.fingerprint
    found = agreement(outcome, recorded, machine)
    return CheckedClaim(Judged(outcome, recorded, found, name, profile, machine))


def write(config: pytest.Config, judged: Sequence[Judged]) -> list[str]:
    """Write the files; lines that say where, or what kept them from being written."""
    lines = []
    suite, options = config.stash.get(SESSION, None), config.stash[OPTIONS]
    # else the cells' summary says it; the controller of pytest-xdist has no session
    if suite is not None and not suite.outcomes:
        made, progress = len(suite.lab.computed()), suite.lab.progress
        lines.append(
            f"{progress.stored} runs from the store, {made} made in {suite.lab.last_result:.0f} s"
        )
    for place in filter(None, (options.results.resolve(), options.report)):
        with unwritten(config, lines.append, f"the claims to {place}"):
            write_claims(judged, place, repeat(config), origin_of(config))
            lines.append(f"written: {place.name}/claims.json, claims.md, claims.toml")
    return lines


class CheckedClaim:
    """A judged claim that a test can check."""

    def __init__(self, judged: Judged) -> None:
        self.judged = judged

    def check(self) -> None:
        """Fail where the verdict is not the recorded one; skip where that cannot be said."""
        agreement = self.judged.agreement
        if agreement.status == "CHANGED":
            pytest.fail(agreement.message, pytrace=False)
        if agreement.status != "as recorded":
            pytest.skip(f"{agreement.status}: {agreement.message}")

    def properties(self) -> list[tuple[str, str]]:
        """Name, rule, verdict and each contrast, for JUnit."""
        outcome = self.judged.outcome
        found = [
            ("fedcore.claim", outcome.claim.name),
            ("fedcore.rule", outcome.claim.rule),
            ("fedcore.verdict", outcome.verdict.value.lower()),
        ]
        if outcome.intervals is not None:
            i = outcome.intervals
            spans = zip(outcome.claim.contrasts, i.mean, i.low, i.high, strict=True)
            for contrast, mean, low, high in spans:
                text = f"{mean:.4f} [{low:.4f}, {high:.4f}] n={i.seeds} ({contrast.role.value})"
                found.append((f"fedcore.{contrast.name}", text))
        return found
