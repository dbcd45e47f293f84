"""Evidence of attacks on updates: what each malicious client sent, and what it had trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from fedcore.exchange.fingerprints import long, model_hash, turned
from fedcore.exchange.sent import Sent, SentBuffers, calm, mean_of_rows, same_bits

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort
    from fedcore.records.record import Record

Span = tuple[float, float]
_CHUNK: Final = 1 << 18  # coordinates that are converted at once


class Measuring(Protocol):
    """An attack on updates, as its audit sees it."""

    @property
    def knows(self) -> str:
        """Which updates it sees: "own" or "benign"."""

    @property
    def one_row(self) -> bool:
        """Whether all malicious clients of a round send one row, which is measured once."""

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Numbers by name, read off a row."""


@dataclass(frozen=True)
class UpdateAudit:
    """What one client sent under an attack on updates, over its ``participations``.

    Of the parameters: ``change`` is |sent - own| / |own| (least, mean), ``cosine`` and ``ratio``
    are the cosine of sent and own and the ratio of their lengths, ``benign_cosine`` and
    ``benign_ratio`` those of sent and the mean of the round's benign updates; (least, greatest)
    each; None where no participation has one: lengths of 0, values that are not finite, no benign
    clients (counted in ``alone``). ``digest`` is of the rows that the strategy received, by round,
    ``measured`` what the attack's audit reads off the rows, by name: (least, greatest) over the
    rounds in which it is finite. ``broken`` counts rows that are not finite, where honest ones are.
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
    measured: tuple[tuple[str, Span], ...] = field(default=(), metadata={"later": True})
    broken: int = field(default=0, metadata={"later": True})


@dataclass
class _Client:
    participations: int = 0
    alone: int = 0
    broken: int = 0
    digest: int = 0
    change: list[float] = field(default_factory=list)
    pairs: dict[str, list[float]] = field(default_factory=dict)
    measured: dict[str, list[float]] = field(default_factory=dict)


class UpdateLog:
    """Compares, round by round, what clients sent with what they had trained.

    Every client whose row differs is noted, whoever it is, and of ``malicious`` all. Of these, what
    the ``measure`` of an attack reads off a row, too.
    """

    def __init__(self, malicious: Sequence[int], measure: Measuring | None = None) -> None:
        self._malicious, self._measure = set(malicious), measure
        self._clients: dict[int, _Client] = {}
        self._kept: dict[str, Any] = {}

    def sent(
        self,
        round: int,
        honest: Cohort,
        received: Cohort,
        num_parameters: int,
        model: torch.Tensor | None = None,
        tried: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """Note ``round``: the rows that clients trained, and those that are handed on.

        ``model`` [D] is what they trained from, ``tried`` as in `Sent`.
        """
        benign = [row for row, c in enumerate(honest.clients) if c not in self._malicious]
        same = {row for row in benign if same_bits(honest.updates[row], received.updates[row])}
        if len(same) == len(honest.clients):
            return
        own, sent = (c.updates[:, :num_parameters] for c in (honest, received))
        centre = mean_of_rows(own, benign) if benign else None
        for row, client in enumerate(honest.clients):
            if row in same:
                continue
            kept = self._clients.setdefault(client, _Client())
            kept.participations += 1
            kept.alone += centre is None
            hashed = model_hash(received.updates[row], received.counters[row])
            kept.digest = (kept.digest + int(turned(round, hashed)[0])) % 2**64
            self._compare(kept, own[row], sent[row], centre)
            if not bool(sent[row].isfinite().all()):
                kept.broken += calm(own)
        if self._measure is None:
            return
        rows = [row for row in range(len(honest.clients)) if row not in set(benign)]
        others = tuple(honest.clients[row] for row in benign)
        known = sent[rows], own[rows], own[benign], self._measure.knows
        buffers = None
        if model is not None:
            given, had = (c.updates[rows, num_parameters:] for c in (received, honest))
            buffers = SentBuffers(given, had, model[num_parameters:])
            model = model[:num_parameters]
        first: Mapping[str, float] = {}
        for position, row in enumerate(rows):
            seen = Sent(*known, position, round, others, model, tried, self._kept, buffers=buffers)
            kept = self._clients[honest.clients[row]]
            if not position or not self._measure.one_row or not same_bits(seen.row, seen.rows[0]):
                values = self._measure.measured(seen)
                first = first or values
            else:
                values = first
            for name, value in values.items():
                if math.isfinite(value):
                    kept.measured.setdefault(name, []).append(value)

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
                broken=kept.broken,
                digest=long(kept.digest),
                measured=tuple(
                    (name, (_short(min(values)), _short(max(values))))
                    for name, values in sorted(kept.measured.items())
                ),
            )
            for client, kept in sorted(self._clients.items())
        )


def update_problems(record: Record) -> Iterator[str]:
    """Where the attack on updates in ``record`` is not at work on the malicious ones, and only."""
    audit = record.audit
    expected, idle = dict.fromkeys(audit.malicious, 0), set[int]()
    attack = record.scenario.parts.attack
    for round, cohort in _present(record):
        if not attack.acts(round):
            continue
        bad = cohort.intersection(expected)
        for client in bad:
            expected[client] += 1
        if attack.update.sends_own(len(cohort), len(bad)):
            idle |= bad
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
        elif client not in idle and left_alone(each, attack.update.touches):
            yield f"left an update of malicious client {client} as it was"
        elif each.broken and not attack.update.breaks:
            yield (
                f"sends {each.broken} of {count} updates of client {client} with values that are "
                "not finite, although all honest ones are: lower the attack's factor, or let "
                "its class say that it breaks"
            )


def left_alone(each: UpdateAudit, touches: Sequence[str], which: int = 0) -> bool:
    """Whether parameters that an attack ``touches`` are as trained, in a round or (1) in all."""
    return "parameters" in touches and each.change is not None and each.change[which] == 0


def _present(record: Record) -> Iterator[tuple[int, set[int]]]:
    """Each round that trained, with the clients whose updates arrived."""
    missing = {(each.round, each.client) for each in record.audit.excluded}
    for round, cohort in enumerate(record.audit.cohorts[: record.diverged], start=1):
        yield round, {client for client in cohort if (round, client) not in missing}


def measured_problems(
    record: Record, name: str, low: float, high: float, *, required: bool = True
) -> Iterator[str]:
    """Where the measure ``name`` of the updates in ``record`` leaves [low, high], or is missing.

    It may be missing where it is not ``required``, and in a run that diverged. For the
    `audit_problems` of attacks.
    """
    for each in record.audit.updates:
        if each.client not in record.audit.malicious:
            continue  # which is an error of its own
        span = dict(each.measured).get(name)
        if span is None and required and record.diverged is None:
            yield f"has no measure {name!r} of the updates of client {each.client}"
        elif span is not None and not low <= span[0] <= span[1] <= high:
            yield (
                f"sends updates of client {each.client} whose measure {name!r} is {span[0]:.6g} to "
                f"{span[1]:.6g}, the attack's is {low:.6g} to {high:.6g}"
            )


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


# eight digits, as sums in another order differ in the last bits
def _span(values: Sequence[float] | None) -> Span | None:
    return (_short(min(values)), _short(max(values))) if values else None


def _least_and_mean(values: Sequence[float]) -> Span | None:
    return (_short(min(values)), _short(math.fsum(values) / len(values))) if values else None


def _short(value: float) -> float:
    return float(f"{value:.8g}")
