"""Recorded verdicts: what a suite's claims.toml says, and whether a new verdict agrees.

::

    ["mnist5k".quick.claim1-heterogeneity-aggravates]
    verdict = "undecided"            # supported, refuted, equivalent or undecided
    seeds = 10
    look = 10                        # the look, in seeds, that the verdict is from
    horizons = "40, 80"              # rounds after which the arms were judged
    definition = "0123456789ab"      # of the claim's arms, weights, roles, margin, horizons, rule
    reason = "..."                   # what the runs showed
    date = "2026-01-31"
    machine = "torch 2.13.0+cpu, x86_64, ..., cpu"
    commit = "..."

by data set, profile and claim. With ``--model NAME`` the first name is ``"mnist5k NAME"``. Each
measurement leaves its tables in ``claims.toml`` of the results directory, to be copied with a
reason filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.harness.claims.claims import ClaimError, ClaimVerdict
from fedcore.harness.claims.judging import ClaimOutcome
from fedcore.harness.suite.options import PROFILES, Options
from fedcore.records.tables import read_toml, table


@dataclass(frozen=True)
class RecordedClaim:
    """A verdict as it was measured once; one of before there were looks has ``look`` 0."""

    verdict: str
    seeds: int
    definition: str
    reason: str
    date: str
    machine: str
    commit: str
    look: int = 0
    horizons: str = ""


ClaimFile = Mapping[tuple[str, str, str], RecordedClaim]


def subject(options: Options) -> str:
    """The first name of a table: the data set, and the model if one was asked for."""
    return options.dataset if options.model is None else f"{options.dataset} {options.model}"


def read_records(path: Path) -> dict[tuple[str, str, str], RecordedClaim]:
    """Recorded verdicts by (subject, profile, claim). Raises ClaimError with path and rule."""
    content = read_toml(path, "recorded verdicts", ClaimError)
    found = {}
    for name, profiles in content.items():
        for profile, claims in _tables(path, name, profiles).items():
            place = f"{name}.{profile}"
            if profile not in PROFILES:
                raise ClaimError(
                    f"recorded verdicts {path}, [{place}]: a profile is one of "
                    f"{', '.join(PROFILES)}"
                )
            for claim, values in _tables(path, place, claims).items():
                found[name, profile, claim] = _recorded(path, f"{place}.{claim}", values)
    return found


def _tables(path: Path, place: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ClaimError(f"recorded verdicts {path}, [{place}]: must hold tables, got {values!r}")
    return values


def _recorded(path: Path, place: str, values: Any) -> RecordedClaim:
    where = f"recorded verdicts {path}, [{place}]"
    recorded = table(RecordedClaim, values, where, ClaimError)
    known = [v.value for v in ClaimVerdict if v is not ClaimVerdict.ERROR]
    if recorded.verdict not in known:
        raise ClaimError(
            f"{where}: verdict must be one of {', '.join(known)}, got {recorded.verdict!r}"
        )
    return recorded


@dataclass(frozen=True)
class Agreement:
    """``status``: "as recorded", "open", "unsure" or "CHANGED"; ``message`` explains it."""

    status: str
    message: str


def agreement(outcome: ClaimOutcome, recorded: RecordedClaim | None, machine: str) -> Agreement:
    """Whether ``outcome``, measured on ``machine``, agrees with what was recorded.

    A verdict must be the recorded one. Only where the look or the machine differs, so that no
    number repeats exactly, is a change to or from "undecided" no more than "unsure"; any two others
    contradict each other everywhere. A record of another definition of the claim
    says nothing about this one and has to be measured again.
    """
    name, verdict = outcome.claim.name, outcome.verdict.value
    if outcome.verdict is ClaimVerdict.ERROR:
        return Agreement("CHANGED", f"{name} could not be judged: " + "; ".join(outcome.errors[:5]))
    if recorded is None:
        return Agreement("open", f"{name} is {verdict}; no verdict is recorded for it")
    look = f"look {recorded.look}" if recorded.look else "without looks"
    past = (
        f"{recorded.verdict} on {recorded.date} at {recorded.commit[:12]} with {recorded.seeds} "
        f"seeds, {look} ({recorded.reason})"
    )
    if recorded.definition != outcome.claim.definition:
        return Agreement(
            "CHANGED",
            f"{name} is {verdict}, but its arms or its rule are not those of the record ({past}; "
            f"definition {recorded.definition}, now {outcome.claim.definition}): record it again",
        )
    if recorded.verdict == verdict:
        return Agreement("as recorded", f"{name} is {past}")
    message = (
        f"{name} is {verdict} with {len(outcome.seeds)} seeds, look {outcome.look} "
        f"({outcome.reason}); recorded: {past}"
    )
    repeats = recorded.machine == machine and recorded.look == outcome.look
    if not repeats and ClaimVerdict.UNDECIDED.value in (verdict, recorded.verdict):
        return Agreement(
            "unsure", f"{message}; other seeds or another machine ({recorded.machine}): no change"
        )
    return Agreement("CHANGED", message)
