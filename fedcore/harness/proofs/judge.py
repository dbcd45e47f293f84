"""Whether a run trained on and scored what its scenario and seed ask for, as messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fedcore.attacks.attack import attack_of
from fedcore.errors import FedcoreError
from fedcore.exchange.evidence import TrainingEvidence, other_rate
from fedcore.harness.proofs.clients import client_problems
from fedcore.harness.proofs.expected import ExpectedTraining, expected
from fedcore.records.record import Record

MISFIT = 0.02  # how much of steps' squared length may be something else, such as rounding
_OVER_FLOWER = "flower"  # how the names of engines begin whose clients may be anybody's
_SHOWN = 3  # clients or rounds that a message names


def training_problems(record: Record, data_dir: Path | None = None) -> list[str]:
    """Where ``record`` trained on or scored something else than it must; the first cause of each.

    ``data_dir`` is where the data are read once more. A run over Flower may have no evidence, as
    clients of others note nothing and private ones send nothing: `unproven` then says so. Of all
    other engines the lack of it is a problem.
    """
    evidence = record.audit.training
    name = f"{record.scenario.id} seed {record.seed}"
    if evidence is None:
        may_lack = record.engine.startswith(_OVER_FLOWER)
        return [] if may_lack else [f"{name} leaves no evidence of training: {_reason(record)}"]
    try:
        due = expected(record, data_dir)
    except FedcoreError as error:
        return [f"{name} cannot be compared with its data: {error}"]
    problems = list(_drawn(record, due)) or list(_trained(record, evidence, due))
    problems += [*_scored(evidence, due), *_probed(evidence, due)]
    problems += client_problems(record, due.parts, due.data.train_labels)
    return [f"{name} {text}" for text in problems]


def unproven(record: Record) -> str | None:
    """Why nothing is known of what ``record`` trained on; None where something is."""
    if record.audit.training is not None:
        return None
    name = f"{record.scenario.id} seed {record.seed}"
    return f"{name}: what it trained on is not proven ({_reason(record)})"


def _reason(record: Record) -> str:
    return record.audit.unseen or "the record was made without it"


def _drawn(record: Record, due: ExpectedTraining) -> Iterator[str]:
    """What the seed draws: who holds how much, who is malicious, who takes part."""
    scenario, audit = record.scenario, record.audit
    if sum(audit.samples) > len(due.data.train):
        yield (
            f"deals {sum(audit.samples)} training samples, the data set has {len(due.data.train)}: "
            "other images have been added to the training split"
        )
        return
    if audit.samples != due.samples:
        yield "deals other numbers of samples than the partition of its seed"
        return
    if audit.malicious != due.malicious:
        yield f"has malicious clients {audit.malicious}, its seed draws {due.malicious}"
    odd = [w.client for w, s in zip(due.skew, audit.skew, strict=False) if w != s]
    if odd or len(audit.skew) != len(due.skew):
        yield f"has other images than its partition makes: {_clients(odd) if odd else 'not all'}"
    if audit.epochs != due.epochs:
        yield f"has local epochs {audit.epochs}, its seed draws {due.epochs}"
    made = audit.cohorts
    budget = scenario.privacy is not None and scenario.epsilon_budget is not None
    if made != due.cohorts[: len(made)] or (len(made) < len(due.cohorts) and not budget):
        yield "has other cohorts than its seed draws"
    elif audit.absent != due.absent:
        yield "misses other clients than are absent under its seed"


def _trained(record: Record, evidence: TrainingEvidence, due: ExpectedTraining) -> Iterator[str]:
    """What the clients trained from, on what, and how."""
    if evidence.clients and evidence.model != due.model:
        yield "began from another initial model than that of its seed"
    if evidence.strangers:
        # a few resemble a test image by chance
        of_test = f", {evidence.scored} of them test images"
        yield (
            f"trained on {evidence.strangers} images that are not the training samples of its "
            f"clients{of_test if 2 * evidence.scored > evidence.strangers else ''}"
        )
        return
    if evidence.leaked != due.leaked:
        yield (
            f"trained on {evidence.leaked} images that are among the scored ones, where the data "
            f"set itself has {due.leaked}"
        )
    if set(evidence.clients) != set(due.clients):
        odd = sorted(set(evidence.clients) ^ set(due.clients))
        yield f"has no evidence, or evidence beyond its cohorts, of the work of {_clients(odd)}"
        return
    if not any(evidence.images) and any(evidence.steps):
        yield "leaves no evidence of what entered the loss: its code goes around the witness"
        return
    yield from _work(record, evidence, due)
    if other := other_rate(evidence.rates, record.scenario.lr):
        yield other
    elif evidence.rates and evidence.misfit > MISFIT:
        yield (
            f"has local steps that are not those of optimizer={record.scenario.optimizer!r}: "
            f"{100 * evidence.misfit:.3g} % of their squared length is something else"
        )


def _work(record: Record, evidence: TrainingEvidence, due: ExpectedTraining) -> Iterator[str]:
    """Client by client: local work, images, labels and order; the first that differs."""
    columns = zip(
        evidence.clients,
        *(evidence.steps, evidence.images, evidence.samples, evidence.labels, evidence.order),
        strict=True,
    )
    changed = {(round, client): count for round, client, count in evidence.changed}
    work, samples, orders, labels = [], [], [], []
    for client, steps, images, *digests in columns:
        wanted = due.clients[client]
        if (steps, images) != (wanted.steps, wanted.images):
            work.append(
                f"client {client} {steps} steps on {images} images instead of {wanted.steps} on "
                f"{wanted.images}"
            )
        elif digests[0] != wanted.samples:
            samples.append(client)
        else:
            if digests[2] != wanted.order:
                orders.append(client)
            if digests[1] != wanted.labels:
                labels.append(client)
    if work:
        yield f"did other local work than asked for: {_some(work)}"
    if samples:
        yield (f"trained on images of another partition than that of its seed: {_clients(samples)}")
    if orders:
        yield f"trained in another batch order than that of its seed: {_clients(orders)}"
    if other := list(_copies(record, evidence, due)):
        yield f"trained on {_some(other, '; ')}"
    elif labels:
        yield f"trained on {_some(list(_labels(record, labels, changed, due)), '; ')}"


def _copies(record: Record, evidence: TrainingEvidence, due: ExpectedTraining) -> Iterator[str]:
    """Of clients that an attack on images has other poisoned images for than it makes."""
    shown = {(round, client): count for round, client, count in evidence.copies}
    for round, client in sorted(set(shown) | set(due.copies)):
        had, wanted = (counts.get((round, client), 0) for counts in (shown, due.copies))
        if had != wanted:
            what = "changed" if due.skew else "poisoned"
            yield f"{had} of {wanted} {what} images of client {client} in round {round}"
            return
    for poison in record.audit.poison:
        own = poison.images_changed, poison.images
        if own != due.repainted.get(poison.client, (0, "")):
            yield f"other poisoned images of client {poison.client} than the attack makes"


def _labels(
    record: Record,
    clients: Sequence[int],
    changed: dict[tuple[int, int], int],
    due: ExpectedTraining,
) -> Iterator[str]:
    """Of ``clients`` whose labels differ: how many labels the attack had changed, and was to."""
    attack = attack_of(record.scenario)
    acting = due.malicious if attack is not None and attack.data is not None else ()
    for client in clients:
        # an epoch's, where all epochs are alike
        alike = not record.scenario.parts.per_example and record.scenario.local_steps is None
        epochs = due.epochs[client] if alike else 1
        counts = {
            round: (changed.get((round, client), 0), due.changed.get((round, client), 0))
            for round in due.clients[client].rounds
        }
        odd = [round for round, (had, wanted) in counts.items() if had != wanted]
        if client not in acting:
            wrong = sum(had for had, _ in counts.values()) / epochs
            yield f"{wrong:g} wrong labels of client {client}, which is not malicious"
        elif odd:
            had, wanted = (count / epochs for count in counts[odd[0]])
            more = f" and {len(odd) - 1} other rounds" if len(odd) > 1 else ""
            where = f"of client {client} in round {odd[0]}{more}"
            yield f"{had:g} of {wanted:g} poisoned labels {where}"
        else:
            what = "images and labels" if due.repainted else "labels"
            yield f"other poisoned {what} of client {client} than the attack gives"


def _scored(evidence: TrainingEvidence, due: ExpectedTraining) -> Iterator[str]:
    """What the global model was scored on."""
    tested = evidence.tested
    if tested.rounds != due.evaluations:
        yield f"has evidence of {tested.rounds} evaluations, made {due.evaluations}"
    elif 2 * tested.training > tested.strangers:
        yield (
            f"was scored on {tested.strangers} images that are not those of the test split, "
            f"{tested.training} of them training images"
        )
    elif tested.strangers:
        yield f"was scored on {tested.strangers} images that are not those of the test split"
    elif tested.labels:
        yield f"was scored against {tested.labels} labels that are not those of the test split"
    elif tested.rounds and (tested.images, tested.digest) != (len(due.data.test), due.data.scored):
        yield (
            f"was scored on {tested.images} images, which are not the {len(due.data.test)} of the "
            "data set's test split"
        )


def _probed(evidence: TrainingEvidence, due: ExpectedTraining) -> Iterator[str]:
    """What the success of the attack was measured on."""
    probed = evidence.probed
    if due.probe is None or due.evaluations == 0:
        if probed is not None:
            yield "was scored on a probe set, its scenario has none"
    elif probed is None or probed.rounds != due.evaluations:
        made = 0 if probed is None else probed.rounds
        yield f"has evidence of {made} evaluations of its probe set, made {due.evaluations}"
    elif probed.strangers or probed.labels:
        yield (
            f"was probed with {probed.strangers} images and {probed.labels} labels that are not "
            "those of its probe set"
        )
    elif (probed.images, probed.digest) != due.probe:
        yield "was probed with another set than the triggered test images of its attack"


def _clients(clients: Sequence[int]) -> str:
    noun = "client" if len(clients) == 1 else "clients"
    return f"{noun} {_some([str(client) for client in clients])}"


def _some(items: Sequence[str], joined: str = ", ") -> str:
    more = len(items) - _SHOWN
    return joined.join(items[:_SHOWN]) + (f"{joined}and {more} more" if more > 0 else "")
