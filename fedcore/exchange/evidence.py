"""Evidence of training: what entered the loss, what was scored, what the solver did.

An engine notes it where it is used (`fedcore.engine.witness`), a `Trial` adds it up over rounds, a
record carries the digests, and the judge compares them with what scenario and seed ask for
(`fedcore.harness.proofs`). Digests are those of `fedcore.exchange.fingerprints`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from fedcore.exchange.fingerprints import long, of_bits, short, turned

Row = npt.NDArray[np.int64]

#: What an engine notes of one client's round, one int64 each; `rate`, `blur`, `misfit`, `moved`
#: and what stands behind `copies`, `model` apart, are the bits of float64.
FIELDS: Final = (
    "steps",  # steps of the local solver
    "images",  # images that entered the loss
    "strangers",  # of these, images that are not the training samples named in the order
    "scored",  # of the strangers, images of the test split
    "leaked",  # images that lie in the test split, too, byte for byte
    "changed",  # labels that differ from those of the data set
    "samples",  # digest of images, order-free
    "labels",  # digest of pairs of image and label, order-free
    "order",  # digest of images in their order
    "rate",  # learning rate that explains the steps best
    "blur",  # its standard error, of the rounding of weights
    "misfit",  # share of the steps' squared length that no learning rate explains
    "moved",  # how far the watched weights moved, see `fedcore.engine.solverlog.along`
    "copies",  # images that are the poisoned copies named in the order
    "bent",  # what rules added to the gradients of a round, along the watched weights
    "way",  # the sum of how far the weights were from the global ones at its steps, likewise
    "grown",  # the sum of the sizes of these gradients, likewise
    "beyond",  # greatest distance from the global parameters before a projection; 0: none was due
    "reach",  # the same right after it
    "model",  # digest of the model that training began from; 0 after round 1
)
WIDTH: Final = len(FIELDS)
_COUNTED: Final = ("steps", "images")
_DIGESTS: Final = ("samples", "labels", "order")
_HEXADECIMAL: Final = re.compile("[0-9a-f]{8,16}")
_ODD: Final = ("strangers", "scored", "leaked")
_FITTED: Final = ("rate", "blur", "misfit")


@dataclass(frozen=True)
class Scored:
    """What was scored, over all ``rounds`` that were evaluated.

    ``images`` and ``digest`` (pairs of image and label, order-free) are of each evaluation where
    all agree, else of the first that differs. Over all evaluations: ``strangers`` are images that
    are not those of the test split in its order, ``training`` those of them that are training
    images, ``labels`` labels that are not the test split's.
    """

    rounds: int
    images: int
    digest: str
    strangers: int
    training: int
    labels: int


@dataclass(frozen=True)
class TrainingEvidence:
    """What a run trained on and scored.

    ``model`` is the digest of the initial model as the first client loaded it. By client, of those
    that trained, in ascending order: ``steps`` and ``images`` over all rounds, digests ``samples``
    (images), ``labels`` (pairs of image and label) and ``order`` (images in the order of training).
    ``changed`` are (round, client, labels that differ from the data set's), where there are any.
    ``copies`` are (round, client, images that are poisoned copies), where there are any; such an
    image counts as the training sample that it stands for in ``samples`` and ``order``, and as
    itself in ``labels``. ``strangers`` are images other than the training samples or copies that
    they stood for, ``scored`` those of them that are test images, ``leaked`` training images that
    lie in the test split, too.
    ``rates`` are the lowest and the highest realised learning rate of a client's round, empty where
    rounding hides it; ``misfit`` is the largest share of steps that no learning rate explains.
    ``tested`` is what was scored of the test split, ``probed`` of the probe set of an attack.
    ``due`` are (client, what ``labels`` must be) where only the run itself could work that out, as
    labels were drawn from the scores of its models.
    """

    model: str
    clients: tuple[int, ...]
    steps: tuple[int, ...]
    images: tuple[int, ...]
    samples: tuple[str, ...]
    labels: tuple[str, ...]
    order: tuple[str, ...]
    changed: tuple[tuple[int, int, int], ...]
    strangers: int
    scored: int
    leaked: int
    rates: tuple[float, ...]
    misfit: float
    tested: Scored
    copies: tuple[tuple[int, int, int], ...] = field(default=(), metadata={"later": True})
    probed: Scored | None = field(default=None, metadata={"later": True})
    due: tuple[tuple[int, str], ...] = field(default=(), metadata={"later": True})


def row_of(noted: Mapping[str, int]) -> Row:
    """The row of what was ``noted``, [WIDTH]; fields that are missing are 0."""
    return np.array([noted.get(name, 0) for name in FIELDS], np.int64)


class EvidenceLog:
    """Adds up what engines note, round by round.

    An engine that notes nothing, or once notes nothing of a client, leaves no evidence: `absent`
    then says why.
    """

    def __init__(self, num_clients: int) -> None:
        self.absent: str | None = None
        self._model = 0
        # as arrays: of 10,000 clients they take no more at the last round than at the first
        self._seen = np.zeros(num_clients, np.bool_)
        self._counted = np.zeros((len(_COUNTED), num_clients), np.int64)
        self._digests = np.zeros((len(_DIGESTS), num_clients), np.uint64)
        self._changed: list[tuple[int, int, int]] = []
        self._copies: list[tuple[int, int, int]] = []
        self._odd = dict.fromkeys(_ODD, 0)
        self._rates: tuple[float, ...] = ()
        self._misfit = 0.0
        self._tested: list[Scored] = []
        self._probed: list[Scored] = []
        self._due: dict[int, int] = {}

    def trained(
        self, round: int, clients: Sequence[int], rows: Row | None, reason: str | None = None
    ) -> None:
        """Add ``rows`` [K, WIDTH], what ``clients`` did in ``round``; None: nobody noted it."""
        if rows is None:
            self.absent = self.absent or reason or "the engine does not note what it trains on"
            return
        noted = dict(zip(FIELDS, rows.T, strict=True))
        who = np.array(clients)
        self._model = self._model or int(noted["model"][0])
        self._seen[who] = True
        for total, name in zip(self._counted, _COUNTED, strict=True):
            total[who] += noted[name]
        for digest, name in zip(self._digests, _DIGESTS, strict=True):
            digest[who] += turned(round, noted[name])
        for name in _ODD:
            self._odd[name] += int(noted[name].sum())
        for place in np.flatnonzero(noted["changed"]).tolist():
            self._changed.append((round, clients[place], int(noted["changed"][place])))
        for place in np.flatnonzero(noted["copies"]).tolist():
            self._copies.append((round, clients[place], int(noted["copies"][place])))
        for fit in zip(*(of_bits(noted[name]).tolist() for name in _FITTED), strict=True):
            self._rate(*fit)

    def due(self, round: int, digests: Mapping[int, int]) -> None:
        """Add the ``digests`` that the labels of clients must have in ``round``."""
        for client, digest in digests.items():
            more = int(turned(round, np.uint64(digest))[0])
            self._due[client] = (self._due.get(client, 0) + more) % 2**64

    def _rate(self, rate: float, blur: float, misfit: float) -> None:
        # what has left the finite numbers, or moves less than weights are rounded, says nothing
        if rate == rate and blur <= RESOLVED * abs(rate):
            seen = (*self._rates, rate)
            self._rates = (min(seen), max(seen))
            self._misfit = max(self._misfit, misfit)

    def tested(self, seen: Scored | None, probed: Scored | None = None) -> None:
        """Add an evaluation of the test split, and of the probe set where there is one."""
        if probed is not None:
            self._probed.append(probed)
        if seen is None:
            self.absent = self.absent or "the engine does not note what it scores"
        else:
            self._tested.append(seen)

    def other_rate(self, lr: float) -> str | None:
        """That clients stepped by another learning rate than ``lr``, as a message."""
        return other_rate(self._rates, lr)

    def evidence(self) -> TrainingEvidence | None:
        """All of it; None where something is `absent`."""
        if self.absent is not None:
            return None
        clients = np.flatnonzero(self._seen)
        counted = {
            name: tuple(row[clients].tolist())
            for name, row in zip(_COUNTED, self._counted, strict=True)
        }
        digests = {
            name: tuple(map(short, row[clients].tolist()))
            for name, row in zip(_DIGESTS, self._digests, strict=True)
        }
        return TrainingEvidence(
            model=long(self._model),
            clients=tuple(clients.tolist()),
            steps=counted["steps"],
            images=counted["images"],
            samples=digests["samples"],
            labels=digests["labels"],
            order=digests["order"],
            changed=tuple(self._changed),
            strangers=self._odd["strangers"],
            scored=self._odd["scored"],
            leaked=self._odd["leaked"],
            # as far as engines agree that add up in another order
            rates=tuple(float(f"{rate:.4g}") for rate in self._rates),
            misfit=round(self._misfit, 3),
            tested=_all(self._tested),
            copies=tuple(self._copies),
            probed=_all(self._probed) if self._probed else None,
            due=tuple((client, short(digest)) for client, digest in sorted(self._due.items())),
        )


def _all(scored: Sequence[Scored]) -> Scored:
    """All evaluations of one set in one."""
    first = scored[0] if scored else Scored(0, 0, long(0), 0, 0, 0)
    odd = next((s for s in scored if s.digest != first.digest), first)
    worst = max(scored, key=lambda s: s.strangers + s.labels, default=odd)
    shown = worst if worst.strangers + worst.labels else odd
    return Scored(
        len(scored),
        shown.images,
        shown.digest,
        sum(s.strangers for s in scored),
        sum(s.training for s in scored),
        sum(s.labels for s in scored),
    )


def evidence_problems(
    evidence: TrainingEvidence, cohorts: Sequence[Sequence[int]]
) -> Iterator[str]:
    """Rules that ``evidence`` of a run with these ``cohorts`` breaks, each as a message."""
    trained = {client for cohort in cohorts for client in cohort}
    clients, tested = evidence.clients, evidence.tested
    if list(clients) != sorted(set(clients)) or not trained.issuperset(clients):
        yield f"evidence must be of clients that took part, in ascending order, got {clients[:8]}"
    for name in (*_COUNTED, *_DIGESTS):
        if len(getattr(evidence, name)) != len(clients):
            yield f"training.{name} must have one value for each of its {len(clients)} clients"
    probed = (evidence.probed,) if evidence.probed is not None else ()
    digests = (
        evidence.model,
        tested.digest,
        *(p.digest for p in probed),
        *evidence.samples,
        *evidence.labels,
        *evidence.order,
        *(digest for _, digest in evidence.due),
    )
    if not all(map(_HEXADECIMAL.fullmatch, digests)):
        yield "digests of the evidence of training must be hexadecimal"
    if not {client for client, _ in evidence.due}.issubset(clients):
        yield "training.due must be of clients that took part"
    counts = [*evidence.steps, *evidence.images, evidence.strangers, evidence.scored]
    counts += [evidence.leaked, tested.rounds, tested.images, tested.strangers]
    counts += [tested.training, tested.labels, *(n for row in evidence.changed for n in row)]
    counts += [n for row in evidence.copies for n in row]
    counts += [n for p in probed for n in (p.rounds, p.images, p.strangers, p.training, p.labels)]
    if min(counts) < 0:
        yield f"counts of the evidence of training must be >= 0, got {min(counts)}"
    for name in ("changed", "copies"):
        if any(
            not 1 <= number <= len(cohorts) or client not in cohorts[number - 1]
            for number, client, _ in getattr(evidence, name)
        ):
            yield f"training.{name} must name clients in rounds in which they took part"
    rates = evidence.rates
    if len(rates) not in (0, 2) or list(rates) != sorted(rates):
        yield f"training.rates must be the lowest and the highest, got {rates}"
    if not 0 <= evidence.misfit <= 1:
        yield f"training.misfit must be in [0, 1], got {evidence.misfit}"


def other_rate(rates: Sequence[float], lr: float) -> str | None:
    """That realised learning ``rates`` are not ``lr``, as a message; None where they are."""
    if all(abs(rate - lr) <= RATE * lr for rate in rates):
        return None
    low, high = min(rates), max(rates)
    span = f"{low:.4g}" if high - low <= RATE * abs(low) else f"{low:.4g} to {high:.4g}"
    return f"has a realised learning rate of {span}, lr={lr:g} was asked for"


RESOLVED: Final = 2e-3
"""A learning rate is known where its standard error is at most this share of it."""
RATE: Final = 0.01
"""How far a realised learning rate may be from the scenario's, as a share of it."""
