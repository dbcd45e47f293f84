"""What an open claim would need: seeds, from the deviation that was observed."""

from __future__ import annotations

from fedcore.harness.claims.claims import Claim, ClaimVerdict
from fedcore.harness.claims.contrasts import Role
from fedcore.harness.claims.judging import ClaimOutcome
from fedcore.harness.claims.rule import Row
from fedcore.harness.statistics.looks import LOOKS
from fedcore.harness.statistics.simultaneous import seeds_needed

#: Beyond this number of seeds nobody asks for the number.
MOST = 10_000


def needs(outcome: ClaimOutcome) -> str:
    """In words, how many seeds an undecided ``outcome`` would need; "" for a decided one.

    For each contrast that decides, at the last horizon: the seeds after which, if its true effect
    and deviation are those observed, it is told from the nearest margin with power 0.8; for each
    control those after which it is above what it has to be. All of these have to be, hence the
    most. Where the effects lie in different places, the claim stays undecided however many seeds
    there are, and the text says so.
    """
    if outcome.verdict is not ClaimVerdict.UNDECIDED or not outcome.findings:
        return ""
    last = outcome.findings[-1]
    rows = [row for row in last.rows if row.contrast.role is Role.DECIDES]
    controls = [row for row in last.rows if row.contrast.role is Role.CONTROL]
    if last.rising:
        return f"longer runs: at {last.horizon} rounds arms still rise"
    if any(row.sd == 0 for row in (*rows, *controls)):
        return ""
    sides = {_side(outcome.claim, row.mean) for row in rows}
    against = [row for row in rows if _side(outcome.claim, row.mean) == "against"]
    chosen = against or rows
    by_row = {row: _seeds(outcome.claim, row) for row in chosen}
    if not against:
        floor = outcome.claim.margin if sides == {"within"} else 0.0
        if low := [row.contrast.name for row in controls if row.mean <= floor]:
            return f"an attack that costs more than {floor:g}: {', '.join(low)}"
        by_row |= {row: seeds_needed(row.sd, row.mean - floor) for row in controls}
    # one contrast against refutes, all others are needed
    worst = (
        min(by_row, key=lambda r: by_row[r]) if against else max(by_row, key=lambda r: by_row[r])
    )
    text = f"{_number(by_row[worst])} seeds ({worst.contrast.name}, {worst.estimand})"
    if not against and len(sides) > 1:
        return (
            "no number of seeds, if the effects are those observed: some lie beyond the margin, "
            f"some within; to tell each from its margin {text}"
        )
    return text


def _side(claim: Claim, mean: float) -> str:
    if claim.below:
        return "for" if mean < claim.margin else "against"
    if mean > claim.margin:
        return "for"
    return "against" if mean < -claim.margin else "within"


def _seeds(claim: Claim, row: Row) -> int:
    edges = (claim.margin,) if claim.below else (claim.margin, -claim.margin)
    distance = max(min(abs(row.mean - edge) for edge in edges), 1e-3)
    return seeds_needed(row.sd, distance)


def _number(seeds: int) -> str:
    """A number that the deviation of a few seeds supports: two digits."""
    if seeds <= LOOKS[-1]:
        return str(seeds)
    if seeds > MOST:
        return f"more than {MOST:,}"
    scale = 10 ** (len(str(seeds)) - 2)
    return f"about {-(-seeds // scale) * scale:,}"
