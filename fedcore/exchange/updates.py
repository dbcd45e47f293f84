"""Evidence of attacks on updates: what each malicious client sent, beside what it had trained.

Worked out from the rows that are handed on to privacy and strategy, and from the honest rows before
any attack, apart from the code that attacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch

from fedcore.exchange.fingerprints import long, model_hash, turned

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort
    from fedcore.records.record import Record

Span = tuple[float, float]
_CHUNK: Final = 1 << 18  # coordinates that are converted at once


@dataclass(frozen=True)
class UpdateAudit:
    """What one client sent under an attack on updates, over its ``participations``.

    Of the parameters: ``change`` is |sent - own| / |own| (least, mean), ``cosine`` and ``ratio``
    are the cosine of sent and own and the ratio of their lengths, ``benign_cosine`` and
    ``benign_ratio`` those of sent and the mean of the round's benign updates; (least, greatest)
    each. They are None where no participation has such a number: lengths of 0, values that are not
    finite, a cohort without benign clients (counted in ``alone``). ``digest`` is of the rows that
    the strategy received, by round.
    """

    client: int
    participations: int
    change: Span | None
    cosine: Span | None
    ratio: Span | None
    benign_cosine: Span | None
    benign_ratio: Span | None
    alone: int
    digest: str


@dataclass
class _Client:
    participations: int = 0
    alone: int = 0
    digest: int = 0
    change: list[float] = field(default_factory=list)
    pairs: dict[str, list[float]] = field(default_factory=dict)


class UpdateLog:
    """Compares, round by round, what clients sent with what they had trained.

    Every client whose row differs is noted, whoever it is, and of ``malicious`` all.
    """

    def __init__(self, malicious: Sequence[int]) -> None:
        self._malicious = set(malicious)
        self._clients: dict[int, _Client] = {}

    def sent(self, round: int, honest: Cohort, received: Cohort, num_parameters: int) -> None:
        """Note ``round``: the rows that clients trained, and those that are handed on."""
        benign = [row for row, c in enumerate(honest.clients) if c not in self._malicious]
        same = {row for row in benign if _same(honest.updates[row], received.updates[row])}
        if len(same) == len(honest.clients):
            return
        own, sent = (c.updates[:, :num_parameters] for c in (honest, received))
        centre = _mean(own, benign) if benign else None
        for row, client in enumerate(honest.clients):
            if row in same:
                continue
            kept = self._clients.setdefault(client, _Client())
            kept.participations += 1
            kept.alone += centre is None
            hashed = model_hash(received.updates[row], received.counters[row])
            kept.digest = (kept.digest + int(turned(round, hashed)[0])) % 2**64
            self._compare(kept, own[row], sent[row], centre)

    def _compare(
        self, kept: _Client, own: torch.Tensor, sent: torch.Tensor, centre: torch.Tensor | None
    ) -> None:
        length, first, change = _length(own), _length(sent), _distance(sent, own)
        if length > 0 and math.isfinite(change / length):
            kept.change.append(change / length)
        for name, other in (("", own), ("benign_", centre)):
            if other is None:
                continue
            second = length if other is own else _length(other)
            values = {
                "ratio": first / second if second else math.nan,
                "cosine": _dot(sent, other) / (first * second) if first and second else math.nan,
            }
            for what, value in values.items():
                if math.isfinite(value):
                    kept.pairs.setdefault(name + what, []).append(value)

    def audits(self) -> tuple[UpdateAudit, ...]:
        """What has been noted, by client in ascending order."""
        return tuple(
            UpdateAudit(
                client=client,
                participations=kept.participations,
                change=_least_and_mean(kept.change),
                cosine=_span(kept.pairs.get("cosine")),
                ratio=_span(kept.pairs.get("ratio")),
                benign_cosine=_span(kept.pairs.get("benign_cosine")),
                benign_ratio=_span(kept.pairs.get("benign_ratio")),
                alone=kept.alone,
                digest=long(kept.digest),
            )
            for client, kept in sorted(self._clients.items())
        )


def update_problems(record: Record) -> Iterator[str]:
    """Where the attack on updates in ``record`` is not at work on the malicious ones, and only."""
    audit = record.audit
    missing = {(each.round, each.client) for each in audit.excluded}
    expected = dict.fromkeys(audit.malicious, 0)
    attack = record.scenario.parts.attack
    for round, cohort in enumerate(audit.cohorts[: record.diverged], start=1):
        if attack is None or not attack.acts(round):
            continue
        for client in set(cohort).intersection(expected):
            expected[client] += (round, client) not in missing
    shown = {each.client: each for each in audit.updates}
    if strangers := sorted(set(shown) - set(expected)):
        yield f"changed updates of clients {strangers}, which are not malicious"
    for client, count in expected.items():
        if count == 0:
            continue
        each = shown.get(client)
        made = 0 if each is None else each.participations
        if each is None or made != count:
            yield f"has evidence of {made} of {count} attacked updates of client {client}"
        elif each.change is not None and each.change[0] == 0:
            yield f"left an update of malicious client {client} as it was"


def signature_problems(
    record: Record, name: str, expected: float, *, tolerance: float = 1e-4
) -> Iterator[str]:
    """Where ``name`` ('cosine', 'ratio', ...) of the updates in ``record`` is not ``expected``.

    ``tolerance`` is a share of ``expected``. For the `audit_problems` of attacks.
    """
    for each in record.audit.updates:
        span: Span | None = getattr(each, name)
        most = tolerance * abs(expected)
        if span is not None and max(abs(value - expected) for value in span) > most:
            low, high = span
            yield (
                f"sends updates of client {each.client} whose {name.replace('_', ' ')} is "
                f"{low:.6g} to {high:.6g}, the attack's is {expected:.6g}"
            )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two rows are equal bit for bit, whatever their numbers are."""
    return torch.equal(*(row.contiguous().view(torch.uint8) for row in (one, other)))


def _parts(vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.split(vector, _CHUNK)


def _length(vector: torch.Tensor) -> float:
    return math.sqrt(_sum([(p := part.double()) @ p for part in _parts(vector)]))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    gaps = (a.double() - b.double() for a, b in zip(_parts(one), _parts(other), strict=True))
    return math.sqrt(_sum([gap @ gap for gap in gaps]))


def _dot(one: torch.Tensor, other: torch.Tensor) -> float:
    pairs = zip(_parts(one), _parts(other), strict=True)
    return _sum([a.double() @ b.double() for a, b in pairs])


def _sum(terms: list[torch.Tensor]) -> float:
    """The sum of numbers that may lie on a device, which is waited for once."""
    return float(sum(torch.stack(terms).tolist()))


def _mean(rows: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
    total = rows[chosen[0]].to(torch.float64, copy=True)
    for row in chosen[1:]:
        total += rows[row]
    return total / len(chosen)


# eight digits, as sums in another order differ in the last bits
def _span(values: Sequence[float] | None) -> Span | None:
    return (_short(min(values)), _short(max(values))) if values else None


def _least_and_mean(values: Sequence[float]) -> Span | None:
    return (_short(min(values)), _short(math.fsum(values) / len(values))) if values else None


def _short(value: float) -> float:
    return float(f"{value:.8g}")
