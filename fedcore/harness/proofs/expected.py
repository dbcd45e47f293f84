"""What a run of a scenario and a seed must have trained on and scored, derived from these alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fedcore.attacks.attack import attack_of
from fedcore.data.loading import data_directory
from fedcore.exchange.fingerprints import (
    Hashes,
    in_order,
    labelled,
    long,
    model_hash,
    short,
    total,
    turned,
)
from fedcore.exchange.layout import Layout
from fedcore.harness.proofs import draws, poison
from fedcore.harness.proofs.draws import Indices
from fedcore.harness.proofs.raw import Raw, raw
from fedcore.harness.proofs.skew import Skewed
from fedcore.harness.proofs.victims import Victims, probe_of
from fedcore.models.weights import weights_file

if TYPE_CHECKING:
    from fedcore.federation.skew import ClientSkew
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

# What a federation's training order and its initial model depend on, beside the seed, as paths from
# a scenario: a component counts with all of its parameters, those of other packages, too.
_FEDERATION: Final = (
    *("parts.partition", "partition_seed", "allow_incomplete", "num_clients"),
    *("validation_fraction", "local_epochs", "local_steps", "batch_size"),
)
_MODEL: Final = ("image_size", "grayscale", "parts.model")
_KEPT: Final = 512  # federations of which a process keeps the draws


@dataclass(eq=False)
class Drawn:
    """The clients of one federation and seed, and what each trains on in each round."""

    scenario: Scenario
    seed: int
    data: Raw
    _orders: dict[tuple[int, int], tuple[Indices, int, int]] = field(default_factory=dict)
    _clean: dict[int, int] = field(default_factory=dict)

    @functools.cached_property
    def skew(self) -> Skewed | None:
        """What the partition makes of the clients' images; None where it leaves them alone."""
        return Skewed.of(self.scenario, self.seed, self.parts, self.data)

    def hashes(self, client: int) -> Hashes:
        """Hashes of the images of a client that is not malicious, by its part."""
        skew = self.skew
        return self.data.train[self.parts[client]] if skew is None else skew.hashes[client]

    @functools.cached_property
    def parts(self) -> list[Indices]:
        """Training samples by client."""
        return draws.parts(self.scenario, self.seed, self.data.train_labels)

    @functools.cached_property
    def works(self) -> tuple[tuple[int, int], ...]:
        """(epochs that are begun, steps) by client, those that an attack asks for included."""
        malicious = draws.malicious(self.scenario, self.seed)
        return self._counted(poison.works(self.scenario, self._drawn, malicious))

    @functools.cached_property
    def epochs(self) -> tuple[int, ...]:
        """Local epochs by client, as far as they are begun."""
        return tuple(epochs for epochs, _ in self.works)

    @functools.cached_property
    def honest(self) -> tuple[tuple[int, int], ...]:
        """(epochs that are begun, steps) by client without an attack."""
        return self._counted(self._drawn)

    def work_of(self, round: int, client: int) -> tuple[int, int]:
        """(epochs that are begun, steps) of a client in a round."""
        own = self.works if poison.acts(self.scenario, round) else self.honest
        return own[client]

    @functools.cached_property
    def _drawn(self) -> list[tuple[int, int | None]]:
        return draws.works(self.scenario, self.seed, list(map(len, self.parts)))

    def _counted(self, asked: Sequence[tuple[int, int | None]]) -> tuple[tuple[int, int], ...]:
        size, sizes = self.scenario.batch_size, map(len, self.parts)
        pairs = zip(sizes, asked, strict=True)
        return tuple(draws.counted(n, epochs, steps, size) for n, (epochs, steps) in pairs)

    def steps(self, round: int, client: int) -> int:
        """Local steps of a client in a round."""
        return self.work_of(round, client)[1]

    def work(self, round: int, client: int) -> tuple[Indices, int, int]:
        """(places in the part, digest of the images, digest of their order) of a participation."""
        key = round, client
        if key not in self._orders:
            part = self.parts[client]
            places = draws.places(
                self.scenario, self.seed, round, client, len(part), *self.work_of(round, client)
            )
            hashes = self.data.train[part[places]]
            digests = int(total(hashes)), int(in_order(hashes))
            self._orders[key] = places, *digests
        return self._orders[key]

    def clean_labels(self, round: int, client: int) -> int:
        """The digest of the labels of a client that is not malicious."""
        # each step takes others, or not all of an epoch
        if self.scenario.parts.per_example or self.scenario.local_steps is not None:
            return self.labels(round, client, self.data.train_labels[self.parts[client]])
        if client not in self._clean:
            part = self.parts[client]
            self._clean[client] = int(
                total(labelled(self.hashes(client), self.data.train_labels[part]))
            )
        return self._clean[client] * self.work_of(round, client)[0] % 2**64

    def labels(
        self, round: int, client: int, believed: Indices, images: Hashes | None = None
    ) -> int:
        """The digest of the labels of a client that believes in ``believed``, by its part.

        ``images`` are hashes of what it trains on in the place of its samples, where it does.
        """
        own = self.hashes(client) if images is None else images
        pairs = labelled(own, believed)
        return int(total(pairs[self.work(round, client)[0]]))


@dataclass(frozen=True)
class Client:
    """What one client must have done, over the rounds in which it trained."""

    rounds: tuple[int, ...]
    steps: int
    images: int
    samples: str
    labels: str
    order: str


@dataclass(frozen=True, eq=False)
class ExpectedTraining:
    """What a record must show.

    ``changed`` are labels that differ and ``copies`` poisoned images, by (round, client);
    ``repainted`` (images that differ, their digest) of each malicious client under an attack on
    images; ``parts`` the training samples by client. ``probe`` is (images, digest) of the probe
    set, None where there is none.
    """

    data: Raw
    malicious: tuple[int, ...]
    cohorts: tuple[tuple[int, ...], ...]
    absent: tuple[tuple[int, ...], ...]
    samples: tuple[int, ...]
    epochs: tuple[int, ...]
    clients: dict[int, Client]
    changed: dict[tuple[int, int], int]
    copies: dict[tuple[int, int], int]
    repainted: dict[int, tuple[int, str]]
    leaked: int
    model: str
    evaluations: int
    probe: tuple[int, str] | None
    parts: list[Indices]
    skew: tuple[ClientSkew, ...]


def expected(record: Record, data_dir: Path | None) -> ExpectedTraining:
    """What ``record`` must show. DataError, ModelError where data or weights cannot be read."""
    scenario, seed = record.scenario, record.seed
    data = raw(scenario.data, data_dir, scenario.image_size)
    drawn = _drawn(_Key(scenario, seed, data))
    malicious = draws.malicious(scenario, seed)
    attack = poison.data_attack(scenario)
    acting = set(malicious) if attack is not None else set()
    victims = Victims(scenario, seed, drawn)
    work: list[tuple[int, int, int, int]] = []
    digests: list[tuple[int, int, int]] = []
    changed: dict[tuple[int, int], int] = {}
    copies: dict[tuple[int, int], int] = {}
    leaked = 0
    twice = data.twice if data.twice.any() else None
    for round, client in participations(record):
        places, samples, order = drawn.work(round, client)
        attacked = client in acting and poison.acts(scenario, round)
        labels = 0 if attacked else drawn.clean_labels(round, client)
        part = drawn.parts[client]
        if attacked:
            made, images = victims.at(round, client)
            labels = drawn.labels(round, client, made.labels, images)
            count = int(np.count_nonzero((made.labels != data.train_labels[part])[places]))
            if count:
                changed[round, client] = count
            if images is not None:
                copied = np.isin(places, made.places)
                copies[round, client] = int(np.count_nonzero(copied))
        if drawn.skew is not None:  # poisoned or not, all of them are copies
            copies[round, client] = len(places)
        if twice is not None:
            leaked += int(twice[part[places]].sum())
        work.append((round, client, drawn.steps(round, client), len(places)))
        digests.append((samples, labels, order))
    scored = data.without(draws.root(scenario, seed, len(data.test)))
    cohorts, absent = draws.cohorts(scenario, seed, drawn.parts)
    return ExpectedTraining(
        data=scored,
        malicious=malicious,
        cohorts=cohorts,
        absent=absent,
        samples=tuple(map(len, drawn.parts)),
        epochs=drawn.epochs,
        clients=_with_due(_clients(scenario.num_clients, work, digests), record),
        changed=changed,
        copies={key: count for key, count in copies.items() if count},
        repainted=victims.repainted(malicious) if attack is not None else {},
        leaked=leaked,
        model=_model(_Key(scenario, seed, data), data_dir),
        evaluations=sum(record.diverged is None or r < record.diverged for r in record.rounds),
        probe=probe_of(scenario, scored),
        parts=drawn.parts,
        skew=() if drawn.skew is None else drawn.skew.audit,
    )


def _clients(
    num_clients: int, work: list[tuple[int, int, int, int]], digests: list[tuple[int, int, int]]
) -> dict[int, Client]:
    """By client: rounds, steps and images of ``work``, (round, client, steps, images) each."""
    if not work:
        return {}
    rounds, who, steps, images = np.array(work).T
    totals = np.zeros((3, num_clients), np.uint64)
    for sums, column in zip(totals, np.array(digests, np.uint64).T, strict=True):
        np.add.at(sums, who, turned(rounds, column))
    steps, images = (
        np.bincount(who, column, num_clients).astype(int) for column in (steps, images)
    )
    result = {}
    for client in np.unique(who).tolist():
        samples, labels, order = map(short, totals[:, client].tolist())
        own = tuple(rounds[who == client].tolist())
        result[client] = Client(
            own, int(steps[client]), int(images[client]), samples, labels, order
        )
    return result


def _with_due(clients: dict[int, Client], record: Record) -> dict[int, Client]:
    """``clients`` with the labels that only the run itself could work out, of its scores."""
    attack, evidence = poison.data_attack(record.scenario), record.audit.training
    if attack is None or not attack.needs_scores or evidence is None:
        return clients
    due = dict(evidence.due)
    return clients | {
        client: dataclasses.replace(clients[client], labels=due.get(client, ""))
        for client in record.audit.malicious
        if client in clients
    }


def participations(record: Record) -> Iterator[tuple[int, int]]:
    """(round, client) of each client that trained and whose update was taken, in order."""
    missing = {(exclusion.round, exclusion.client) for exclusion in record.audit.excluded}
    for round, cohort in enumerate(record.audit.cohorts[: record.diverged], start=1):
        for client in cohort:
            if (round, client) not in missing:
                yield round, client


class _Key:
    """A scenario and seed, of which only what a cache's values depend on is compared."""

    def __init__(self, scenario: Scenario, seed: int, data: Raw) -> None:
        self.scenario, self.seed, self.data = scenario, seed, data
        private = scenario.parts.per_example
        attack = attack_of(scenario)
        # of the attacks only those on local work change what is drawn
        works = attack is not None and attack.work is not None
        work = (attack, scenario.malicious_fraction) if works else None
        fields = attrgetter("dataset", *_FEDERATION, *_MODEL)(scenario)
        self._values = (seed, id(data), private, work, *fields)

    def __hash__(self) -> int:
        return hash(self._values)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Key) and self._values == other._values


@functools.lru_cache(maxsize=_KEPT)
def _drawn(key: _Key) -> Drawn:
    return Drawn(key.scenario, key.seed, key.data)


@functools.lru_cache(maxsize=_KEPT)
def _model(key: _Key, data_dir: Path | None) -> str:
    """The digest of the initial model, built without `fedcore.models.build`."""
    scenario, architecture = key.scenario, key.scenario.parts.model
    height, width, depth = key.data.shape
    side = scenario.image_size
    stored = 1 if scenario.grayscale else depth
    weights = weights_file(scenario.weights, scenario.model, data_directory(data_dir))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(draws.weights_seed(key.seed))
        network = architecture.build(
            num_classes=key.data.classes,
            channels=architecture.channels or (3 if scenario.grayscale else stored),
            size=(height, width) if side is None else (side, side),
            norm=scenario.norm or "none",
            weights=weights,
        )
    return long(model_hash(*Layout.of(network).flatten(network.state_dict())))
