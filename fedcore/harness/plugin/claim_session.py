"""What a pytest session does with claims: start their runs, judge them, check and report them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.files import write_claims
from fedcore.harness.claims.judging import judge_claim
from fedcore.harness.claims.records import ClaimFile, agreement, subject
from fedcore.harness.claims.report import Judged
from fedcore.harness.plugin.checked import repeat
from fedcore.harness.plugin.options import OPTIONS
from fedcore.harness.plugin.session import SESSION, SuiteSession, origin_of
from fedcore.harness.plugin.unwritten import unwritten
from fedcore.harness.statistics.looks import due
from fedcore.records.store import StoreWarning


def numbers_of(suite: SuiteSession, claim: Claim) -> tuple[int, ...]:
    """Numbers of seeds after which ``claim`` is judged until it is decided.

    The looks up to the claim's own number of seeds; with ``--seeds`` that number alone.
    """
    if suite.options.seeds is not None:
        return (suite.options.seeds,)
    return due(claim.seeds) or (claim.seeds,)


def start(suite: SuiteSession, claims: Sequence[Claim]) -> None:
    """Set the workers on what ``claims`` need first beyond what is planned, and say what that is.

    UsageError where data are missing, or no engine fits, so that no run can be made.
    """
    lab = suite.lab
    runs = dict.fromkeys(
        run for claim in claims for run in claim.runs(range(numbers_of(suite, claim)[0]))
    )
    suite.require_dealt(
        {s: numbers_of(suite, claim)[-1] for claim in claims for s in claim.scenarios}
    )
    before = lab.progress
    suite.begin(runs)
    suite.require_any()
    now = lab.progress
    added, stored = now.planned - before.planned, now.stored - before.stored
    further = any(len(numbers_of(suite, claim)) > 1 for claim in claims)
    suite.say(
        f"fedcore: {len(claims)} claims need {len(runs)} runs, {len(runs) - added} of them planned "
        f"for cells, {stored} stored, {added - stored} to make"
        + ("; more where these do not decide" if further else "")
    )


def judge(suite: SuiteSession, claim: Claim, records: ClaimFile) -> CheckedClaim:
    """The judged ``claim`` beside its record, once its runs are done."""
    for count in numbers_of(suite, claim):
        runs = claim.runs(range(count))
        suite.begin(runs)
        with warnings.catch_warnings():
            warnings.simplefilter("always", StoreWarning)  # a warning even under -W error
            results = {run: suite.lab.result(run, suite._tick) for run in runs}
        outcome = judge_claim(claim, range(count), results, suite.lab.proofs)
        if outcome.verdict is not ClaimVerdict.UNDECIDED:
            break
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
            ("fedcore.look", str(outcome.look)),
        ]
        for finding in outcome.findings:
            for row in finding.rows:
                low, high = row.each
                text = f"{row.mean:.4f} [{low:.4f}, {high:.4f}] n={len(row.values)}"
                name = f"fedcore.{row.contrast.name}, {row.estimand}, {finding.horizon} rounds"
                found.append((name, f"{text} ({row.contrast.role.value})"))
        return found
