"""What runs must share, compared: a pair, the arms of one seed, the seeds of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from fedcore.attacks.attack import attack_of
from fedcore.exchange.evidence import RATE
from fedcore.harness.proofs.judge import training_problems
from fedcore.records.record import Record
from fedcore.scenario.absent import FIELDS as ABSENT

# paths from a scenario: a component counts with all of its parameters
_DEALT: Final = (
    "dataset",
    *("parts.partition", "partition_seed", "num_clients", "validation_fraction"),
)
_NETWORK: Final = ("dataset", "image_size", "grayscale", "parts.model")
_ORDERED: Final = (
    *_DEALT,
    *(
        "fraction_train",
        "rounds",
        "local_epochs",
        "local_steps",
        "batch_size",
        "privacy",
        "epsilon_budget",
    ),
    *ABSENT,
)


class Proofs:
    """What one session knows of its runs: it compares each with the arms that it has seen.

    ``data_dir`` is where data are read once more (None: the default directory).
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir
        self._seen: dict[int, tuple[Record, list[str]]] = {}
        self._shared: dict[tuple[Any, ...], tuple[Any, str]] = {}

    def problems(self, record: Record) -> list[str]:
        """Where ``record`` is not what scenario and seed ask for, or not what other arms share."""
        known = self._seen.get(id(record))
        if known is None:
            found = training_problems(record, self.data_dir)
            known = record, found or list(self._apart(record))
            self._seen[id(record)] = known  # the record stays, and with it its id
        return known[1]

    def _apart(self, record: Record) -> Iterator[str]:
        """Where ``record`` and an arm of the same seed differ in what both must share."""
        name = f"{record.scenario.id} seed {record.seed}"
        for what, names, value in _shared(record):
            fields = attrgetter(*names, "dataset")(record.scenario)  # of two at least: a tuple
            key = what, record.seed, record.provenance.data, fields
            first, other = self._shared.setdefault(key, (value, name))
            if first != value:
                yield f"{name} and {other} are arms of one seed, and differ in {what}"


def _shared(record: Record) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """(name, what of a scenario it depends on, value) of what the arms of a seed share."""
    audit, evidence = record.audit, record.audit.training
    if evidence is None:
        return
    yield "samples per client", _DEALT, audit.samples
    attack = attack_of(record.scenario)
    works = attack is not None and attack.work is not None  # whoever is malicious does other work
    if not works:
        counted = record.scenario.local_steps is not None  # from which epochs follow, by samples
        dealt = (*_DEALT, "local_steps", "batch_size") if counted else ()
        yield "local epochs", ("local_epochs", "num_clients", *dealt), audit.epochs
    if record.scenario.attack is not None:
        # fewer malicious clients are the first of more
        fields = ("malicious_fraction", "num_clients", "malicious_set")
        balanced = record.scenario.malicious_set is not None  # by what the clients hold
        yield "malicious clients", (*fields, *(_DEALT if balanced else ())), audit.malicious
    if record.scenario.epsilon_budget is None:
        yield "cohorts", (*_DEALT, "fraction_train", "rounds", *ABSENT), audit.cohorts
    yield "initial model", _NETWORK, evidence.model
    if record.diverged is None and not audit.excluded and not works:
        work = evidence.clients, evidence.steps, evidence.samples, evidence.order
        yield "the images that clients trained on, in their order", _ORDERED, work
    if evidence.tested.rounds:  # of what diverged at once nothing is scored
        tested = evidence.tested.images, evidence.tested.digest
        yield "scored images", ("parts.strategy.root_samples",), tested


def apart(clean: Record, poisoned: Record) -> list[str]:
    """In what a clean twin and a poisoned run differ that their evidence must share."""
    first, second = clean.audit.training, poisoned.audit.training
    if first is None or second is None:
        return []
    found = ["initial model"] * (first.model != second.model)
    if all(r.diverged is None and not r.audit.excluded for r in (clean, poisoned)):
        attack = attack_of(poisoned.scenario)
        works = attack is not None and attack.work is not None
        other = set(poisoned.audit.malicious) if works else set()

        def of_all(*columns: tuple[Any, ...]) -> list[Any]:
            rows = zip(first.clients, *columns, strict=True)
            return [row for row in rows if row[0] not in other]

        compared: dict[str, Callable[[Any], Any]] = {
            "clients that trained": lambda e: e.clients,
            "local steps": lambda e: of_all(e.steps, e.images),
            "partition": lambda e: of_all(e.samples),
            "batch order": lambda e: of_all(e.order),
        }
        if first.clients != second.clients:
            compared = {"clients that trained": lambda e: e.clients}
        found += [what for what, value in compared.items() if value(first) != value(second)][:1]
    rates = (*first.rates, *second.rates)
    if first.rates and second.rates and max(rates) - min(rates) > 2 * RATE * max(rates):
        found.append("realised learning rate")
    tested = [(t.images, t.digest) for t in (first.tested, second.tested) if t.rounds]
    found += ["scored images"] * (len(set(tested)) > 1)
    sets = [(p.images, p.digest) for p in (first.probed, second.probed) if p is not None]
    found += ["probe set"] * (len(set(sets)) > 1)
    return found


_LEAST: Final = 32  # images of a client whose order says which seed drew it


def seeds_alike(records: Mapping[int, Record]) -> list[str]:
    """Seeds of one scenario (``records`` by seed) that share what each must draw for itself."""
    models: dict[str, int] = {}
    orders: dict[tuple[str, ...], int] = {}
    found = []
    for seed, record in records.items():
        evidence = record.audit.training
        if evidence is None or not evidence.clients:
            continue
        name = record.scenario.id
        # weights of a file may leave nothing to be drawn
        first = models.setdefault(evidence.model, seed)
        if first != seed and record.scenario.weights is None:
            found.append(f"{name}: seeds {first} and {seed} began from one initial model")
        first = orders.setdefault(evidence.order, seed)
        if first != seed and max(evidence.images) >= _LEAST:
            found.append(
                f"{name}: seeds {first} and {seed} trained on the same images in one order"
            )
    return found
