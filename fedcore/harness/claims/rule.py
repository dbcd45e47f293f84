"""The decision rule of claims: what intervals at one horizon say, and what the horizons together.

Intervals are repeated ones (`fedcore.harness.statistics.simultaneous`): with the error spent over
the looks, each of the three strong verdicts is wrong in at most 2.5 % of claims, whenever one stops.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import Contrast, Role
from fedcore.harness.statistics.simultaneous import Span


class Place(Enum):
    """Where an interval lies. ACROSS: over a margin; WITHIN: between both."""

    FOR = "beyond the margin"
    AGAINST = "beyond the margin, against"
    WITHIN = "within the margin"
    ACROSS = "across a margin"


@dataclass(frozen=True)
class Row:
    """An estimand of a contrast: ``values`` by seed, ``mean`` and intervals, in points.

    ``rising`` says of arms why they have not converged: such a row decides nothing.
    """

    contrast: Contrast
    estimand: str
    values: tuple[float, ...]
    mean: float
    sd: float
    each: Span
    together: Span
    rising: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What is known at ``horizon``: a row for each estimand of each contrast, and the verdict.

    ``reason`` explains a verdict that is "undecided".
    """

    horizon: int
    rows: tuple[Row, ...]
    verdict: ClaimVerdict
    reason: str = ""
    rising: bool = False


def place(claim: Claim, span: Span) -> Place:
    """Where ``span`` lies beside the margins of ``claim``; the margin itself is not beyond it."""
    low, high = span
    if claim.below:
        if high < claim.margin:
            return Place.FOR
        return Place.AGAINST if low > claim.margin else Place.ACROSS
    if low > claim.margin:
        return Place.FOR
    if high < -claim.margin:
        return Place.AGAINST
    return Place.WITHIN if -claim.margin <= low and high <= claim.margin else Place.ACROSS


def decide(claim: Claim, horizon: int, rows: Sequence[Row]) -> Finding:
    """What ``rows`` say of ``claim`` at ``horizon``.

    - *refuted* if every estimand of a contrast that decides or guards lies beyond the margin
      against the claim, with the intervals of all of these together (a union of such findings,
      hence the wider intervals): an arm that only ends lower, as it learns slowly, refutes nothing;
    - *supported* if every estimand of every contrast that decides lies beyond the margin, and every
      control above 0 (an intersection-union test, Berger 1982: each at its own level);
    - *equivalent* if every estimand of every contrast that decides lies within -margin and +margin
      (two one-sided tests, Schuirmann 1987), and every control above the margin. A claim of less
      than a margin has no such verdict: what lies below is supported;
    - *undecided* otherwise. A row with an arm that has not converged takes part in no verdict, and
      where it would have to, the reason says "open: still rising".
    """
    counted = [row for row in rows if row.contrast.role is not Role.REPORTED]
    against = []
    disputed = []
    for contrast in dict.fromkeys(row.contrast for row in counted):
        own = [row for row in counted if row.contrast is contrast]
        if contrast.role is Role.CONTROL or any(row.rising for row in own):
            continue
        turned = [place(claim, row.together) is Place.AGAINST for row in own]
        if all(turned):
            against.append(contrast.name)
        elif any(turned) and any(place(claim, row.each) is Place.FOR for row in own):
            disputed.append(contrast.name)
    if against:
        return Finding(horizon, tuple(rows), ClaimVerdict.REFUTED)
    if disputed:
        names = ", ".join(disputed)
        reason = f"drop and poisoned accuracy contradict each other: {names}"
        return Finding(horizon, tuple(rows), ClaimVerdict.UNDECIDED, reason)
    deciding = [row for row in counted if row.contrast.role is Role.DECIDES]
    controls = [row for row in counted if row.contrast.role is Role.CONTROL]
    if still := list(dict.fromkeys(text for r in (*deciding, *controls) for text in r.rising)):
        more = f"; and {len(still) - 1} more" if len(still) > 1 else ""
        reason = f"open: still rising at {horizon} rounds: {still[0]}{more}"
        return Finding(horizon, tuple(rows), ClaimVerdict.UNDECIDED, reason, rising=True)
    places = {place(claim, row.each) for row in deciding}
    floor = min((row.each[0] for row in controls), default=float("inf"))
    if places == {Place.FOR} and floor > 0:
        return Finding(horizon, tuple(rows), ClaimVerdict.SUPPORTED)
    if places == {Place.WITHIN} and floor > claim.margin:
        return Finding(horizon, tuple(rows), ClaimVerdict.EQUIVALENT)
    return Finding(horizon, tuple(rows), ClaimVerdict.UNDECIDED, _undecided(claim, deciding, floor))


def _undecided(claim: Claim, deciding: Sequence[Row], floor: float) -> str:
    """Why nothing is decided although all arms have converged."""
    places = {place(claim, row.each) for row in deciding}
    if places == {Place.FOR}:
        return "a control is not shown to be above 0"
    if places == {Place.WITHIN}:
        return f"a control is not shown to be above {claim.margin:g}: the attack costs too little"
    if Place.ACROSS not in places:
        return "some contrasts lie beyond the margin and some within"
    across = [row for row in deciding if place(claim, row.each) is Place.ACROSS]
    names = dict.fromkeys(row.contrast.name for row in across)
    return f"intervals across a margin: {', '.join(names)}"


def combined(findings: Sequence[Finding]) -> tuple[ClaimVerdict, str]:
    """The verdict over all horizons, and what there is to say of it.

    The last horizon decides: that keeps the error what it is at one horizon. An earlier one at
    which the arms have converged must agree; one at which they still rise is only noted.
    """
    *early, last = findings
    if last.verdict is ClaimVerdict.UNDECIDED:
        return last.verdict, last.reason
    for finding in early:
        if finding.verdict is not last.verdict and not finding.rising:
            why = f" ({finding.reason})" if finding.reason else ""
            return (
                ClaimVerdict.UNDECIDED,
                f"{last.verdict.value} at {last.horizon} rounds, {finding.verdict.value} at "
                f"{finding.horizon}{why}",
            )
    rising = [str(finding.horizon) for finding in early if finding.rising]
    note = f"at {last.horizon} rounds"
    if rising:
        note += f"; open: still rising at {', '.join(rising)}"
    return last.verdict, note
