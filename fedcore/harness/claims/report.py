"""The claims of a session as a table of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedcore.harness.claims.contrasts import Role
from fedcore.harness.claims.judging import ClaimOutcome
from fedcore.harness.claims.power import needs
from fedcore.harness.claims.records import Agreement, RecordedClaim
from fedcore.harness.claims.rule import Place, Row, place
from fedcore.harness.reports.table import WIDTH
from fedcore.harness.statistics.looks import ERROR, LOOKS

_NAME, _ESTIMAND, _EFFECT, _INTERVAL, _ROLE, _PLACE = 42, 8, 7, 17, 10, 11
LEGEND = (
    "effect: percentage points, mean of paired seeds. drop: clean minus poisoned accuracy; "
    "accuracy: the same contrast of poisoned accuracies alone, what is lost counts positive; both: "
    f"one number. interval: {100 * (1 - ERROR):g} % over all looks at "
    f"{', '.join(map(str, LOOKS))} seeds. place: for, against (beyond the margin), within it, "
    "across it; rising: an arm has not converged, the row decides nothing. supported: all that "
    "decide lie beyond the margin, and controls above 0. refuted: one that decides or guards lies "
    "beyond it on the other side, with intervals that hold for all together. equivalent: all that "
    "decide lie within the margin. look: the number of seeds that the verdict is from."
)


@dataclass(frozen=True)
class Judged:
    """An outcome beside its record; ``subject`` and ``profile`` are those of the session."""

    outcome: ClaimOutcome
    recorded: RecordedClaim | None
    agreement: Agreement
    subject: str
    profile: str
    machine: str


def claims_table(judged: Sequence[Judged]) -> str:
    """A line per claim and per row at its last horizon, and the meaning of the columns."""
    lines = [
        _line("claim / contrast", "", "effect", "interval", "verdict", "record"),
        " ".join("-" * w for w in (_NAME, _ESTIMAND, _EFFECT, _INTERVAL, _ROLE, _PLACE)),
    ]
    for item in judged:
        outcome, claim = item.outcome, item.outcome.claim
        look = f"look {outcome.look}" if outcome.look else f"{len(outcome.seeds)} seeds"
        verdict = outcome.verdict.value
        lines.append(_line(claim.name, "", "", look, verdict, item.agreement.status))
        about = f"{claim.statement} ({claim.rule}: {claim.because})"
        lines += [f"  {text}" for text in _wrap(about, WIDTH - 2)]
        lines += list(_findings(outcome))
        lines += [f"  {text}" for note in notes(outcome) for text in _wrap(note, WIDTH - 2)]
    return "\n".join([*lines, "", *_wrap(LEGEND, WIDTH)])


def _findings(outcome: ClaimOutcome) -> Iterator[str]:
    if not outcome.findings:
        return
    *early, last = outcome.findings
    for finding in early:
        text = f"at {finding.horizon} rounds: {finding.verdict.value}"
        yield from (f"  {line}" for line in _wrap(text, WIDTH - 2))
    yield f"  at {last.horizon} rounds: {last.verdict.value}"
    for row in last.rows:
        effect, interval = figures(row)
        name, role = f"    {row.contrast.name}", row.contrast.role.value
        yield _line(name, row.estimand, effect, interval, role, placed(outcome, row))


def notes(outcome: ClaimOutcome) -> list[str]:
    """What there is to say of ``outcome`` beside its rows."""
    listed = dict.fromkeys(text for c in outcome.claim.contrasts for text in c.confounds)
    lines = [outcome.reason] if outcome.reason and not outcome.errors else []
    if text := needs(outcome):
        lines.append(f"to decide it: {text}")
    lines += [f"confounded: {'; '.join(listed)}"] if listed else []
    lines += [f"error: {text}" for text in outcome.errors[:3]]
    lines += [f"learned nothing: {text}" for text in outcome.unskilled[:3]]
    lines += [f"diverged, at chance: {text}" for text in outcome.diverged[:3]]
    if len(outcome.diverged) > 3:
        lines.append(f"and {len(outcome.diverged) - 3} further runs diverged")
    return lines + [f"not proven: {text}" for text in outcome.unproven[:3]]


def placed(outcome: ClaimOutcome, row: Row) -> str:
    """Where the interval of ``row`` lies, in a word; of a control, whether it is above 0."""
    if row.rising:
        return "rising"
    if row.contrast.role is Role.CONTROL:
        return "above 0" if row.each[0] > 0 else "not above 0"
    if place(outcome.claim, row.together) is Place.AGAINST:
        return "against"
    found = place(outcome.claim, row.each)
    return "across" if found is Place.AGAINST else found.name.lower()


def figures(row: Row, together: bool = False) -> tuple[str, str]:
    """Effect and interval of ``row`` as printed."""
    low, high = row.together if together else row.each
    return f"{row.mean:+.2f}", f"[{low:+.2f}, {high:+.2f}]"


def _line(name: str, estimand: str, effect: str, interval: str, role: str, last: str) -> str:
    return (
        f"{name:{_NAME}} {estimand:{_ESTIMAND}} {effect:>{_EFFECT}} {interval:>{_INTERVAL}} "
        f"{role:{_ROLE}} {last:{_PLACE}}"
    ).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
