"""Detection: whom a rule left out or weighed down, against who was malicious.

Every client of a round is judged by its share (`fedcore.exchange.shares`). It is *left out* at a
share of 0 and *weighed down* below half of its plain share. Only rounds in which the attack acts,
with a malicious client among those that the rule was given, are counted: in the others there is
nobody to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

#: A share below this is weighed down.
HALF: Final = 0.5
#: What counts as detected, by name: the test of a share.
RULES: Final[Mapping[str, Callable[[float], bool]]] = {
    "left_out": lambda share: share == 0,
    "weighed_down": lambda share: share < HALF,
}


@dataclass(frozen=True)
class Counts:
    """Clients by round, summed: malicious or honest, detected or not."""

    caught: int = 0  # malicious and detected
    missed: int = 0  # malicious and not detected
    blamed: int = 0  # honest and detected
    spared: int = 0  # honest and not detected

    @property
    def precision(self) -> float | None:
        """Share of the detected that are malicious; None where nobody is detected."""
        return _ratio(self.caught, self.caught + self.blamed)

    @property
    def recall(self) -> float | None:
        """Share of the malicious that are detected; None where nobody is malicious."""
        return _ratio(self.caught, self.caught + self.missed)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the honest that are detected; None where nobody is honest."""
        return _ratio(self.blamed, self.blamed + self.spared)

    @property
    def base_rate(self) -> float | None:
        """Share of the malicious among all: the precision of leaving clients out at random."""
        everybody = self.caught + self.missed + self.blamed + self.spared
        return _ratio(self.caught + self.missed, everybody)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.caught + other.caught,
            self.missed + other.missed,
            self.blamed + other.blamed,
            self.spared + other.spared,
        )


@dataclass(frozen=True)
class First:
    """When a malicious ``client`` was detected first.

    ``round`` counts from 1, ``participations`` are those up to it, it included. Both are None for
    one that never was, over the ``rounds`` in which it took part.
    """

    client: int
    rounds: int
    round: int | None
    participations: int | None


@dataclass(frozen=True)
class Detection:
    """What a run shows under one of `RULES`: ``counts``, and ``first`` by malicious client.

    Malicious clients that never took part are not in ``first``.
    """

    counts: Counts
    first: tuple[First, ...]


def detections(record: Record) -> dict[str, Detection] | None:
    """By name of `RULES` what ``record`` shows; None without an attack, or without shares.

    `absence` says why there are none.
    """
    rounds = list(_rounds(record))
    if not rounds:
        return None
    malicious = record.audit.malicious
    return {name: _detection(rounds, malicious, rule) for name, rule in RULES.items()}


def absence(scenario: Scenario) -> str | None:
    """Why no run of ``scenario`` has shares, whatever its rule; None where its rule decides."""
    mixing = [str(step) for step in scenario.parts.preaggregation if not step.keeps_clients]
    if not mixing:
        return None
    return f"the rows behind {', '.join(mixing)} are not single clients"


def pooled(counts: Iterable[Counts]) -> Counts:
    """The sum of ``counts``."""
    return sum(counts, Counts())


_Round = tuple[int, dict[int, float]]


def _rounds(record: Record) -> Iterator[_Round]:
    """(round, share by client) of rounds whose shares are known and that are attacked."""
    audit = record.audit
    gone = {(each.round, each.client) for each in audit.excluded}
    malicious, attack = set(audit.malicious), record.scenario.parts.attack
    for round, shares in enumerate(audit.shares, start=1):
        if shares is None or attack is None or not attack.acts(round):
            continue
        clients = [c for c in audit.cohorts[round - 1] if (round, c) not in gone]
        if malicious.intersection(clients):
            yield round, dict(zip(clients, shares, strict=True))


def _detection(
    rounds: Iterable[_Round], malicious: Iterable[int], rule: Callable[[float], bool]
) -> Detection:
    bad = dict.fromkeys(malicious, 0)  # participations
    first: dict[int, tuple[int, int]] = {}
    tally = dict.fromkeys(((m, d) for m in (True, False) for d in (True, False)), 0)
    for round, shares in rounds:
        for client, share in shares.items():
            detected = rule(share)
            tally[client in bad, detected] += 1
            if client in bad:
                bad[client] += 1
                if detected and client not in first:
                    first[client] = round, bad[client]
    counts = Counts(tally[True, True], tally[True, False], tally[False, True], tally[False, False])
    return Detection(
        counts,
        tuple(First(c, n, *first.get(c, (None, None))) for c, n in sorted(bad.items()) if n),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
