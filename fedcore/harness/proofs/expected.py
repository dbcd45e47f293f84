"""What a run of a scenario and a seed must have trained on and scored, derived from these alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fedcore.attacks.attack import attack_of
from fedcore.data.loading import data_directory
from fedcore.exchange.fingerprints import (
    long,
    model_hash,
    short,
    turned,
)
from fedcore.exchange.layout import Layout
from fedcore.harness.proofs import draws, poison
from fedcore.harness.proofs.drawn import Drawn
from fedcore.harness.proofs.draws import Indices
from fedcore.harness.proofs.raw import Raw, raw
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
    malicious = draws.malicious(scenario, seed, [len(part) for part in drawn.parts])
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
    cohorts, absent = draws.cohorts(scenario, seed, drawn.parts)
    scored = data.without(draws.root(scenario, seed, len(data.test)))
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
        work = (attack, scenario.malicious_fraction, scenario.malicious_set) if works else None
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
