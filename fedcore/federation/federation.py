"""A federation made ready for one run: data dealt and poisoned, local work drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from fedcore.attacks.attack import Attack, Samples, attack_of, success_of
from fedcore.data.dataset import Dataset, Split, named_classes, read_only
from fedcore.data.loading import data_directory, load
from fedcore.data.transforms import Transform
from fedcore.errors import AttackError, ModelError, PartitionError
from fedcore.federation.absences import Absences
from fedcore.federation.batches import begun_epochs, local_steps
from fedcore.federation.clients import partition
from fedcore.federation.root import Root
from fedcore.federation.skew import ClientSkew, Skew
from fedcore.federation.threat import Threat
from fedcore.models.build import build_model
from fedcore.models.weights import weights_digest, weights_file
from fedcore.origin.sources import CHANGED
from fedcore.streams import Indices, Purpose, stream

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Federation:
    """What a run of ``scenario`` with ``seed`` trains and tests on.

    ``train_images`` [n, h, w, c] uint8 and ``test`` lie on the device; ``parts`` are each client's
    training samples; ``threat`` holds the malicious clients, the labels that clients believe in and
    the images that they train on, of which ``copies`` [q, h, w, c] are poisoned or changed by the
    partition, as ``skew`` says by client. ``probe`` is what the success of the attack is measured
    on, as the data set has it. Where the server trains an update of its own on a ``root`` set, that
    is left out of ``test`` and ``probe``, and ``parts`` and ``epochs`` have one more entry than
    there are clients.
    """

    scenario: Scenario
    seed: int
    data_dir: Path
    dataset: Dataset
    transform: Transform
    train_images: torch.Tensor
    test: Split
    parts: list[Indices]
    threat: Threat
    copies: torch.Tensor | None = None
    skew: tuple[ClientSkew, ...] = ()
    probe: Split | None = None
    root: Root | None = None
    _weights: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def prepare(
        cls, scenario: Scenario, seed: int, data_dir: str | Path | None, device: torch.device
    ) -> Federation:
        """Load, deal and poison. Raises DataError, PartitionError or AttackError."""
        folder = data_directory(data_dir)
        dataset = load(scenario.data, folder, scenario.image_size)
        architecture = scenario.parts.model
        transform = Transform.of(scenario, dataset, architecture.channels, architecture.smallest)
        labels = read_only(dataset.train.labels)
        parts = partition(scenario, labels, dataset.num_classes, seed)
        able = sum(len(part) > 0 for part in parts)
        if able < scenario.cohort_size:
            raise PartitionError(
                f"only {able} of {scenario.num_clients} clients have samples, a cohort takes "
                f"{scenario.cohort_size}: lower fraction_train, or deal samples to all clients"
            )
        if scenario.norm == "batch" and min(map(len, filter(len, parts))) == 1:
            raise PartitionError(
                "a client with a single training sample cannot train BatchNorm: have partition "
                f"{scenario.partition!r} deal 2 to each (min_partition_size of dirichlet, smallest "
                "of quantity), or set norm='group'"
            )
        images, attack = dataset.train.images, attack_of(scenario)
        skew = Skew.of(scenario, seed, parts, images)
        if skew is not None and attack is not None and attack.data is not None:
            images = skew.seen(images)
        try:
            threat = Threat.prepare(scenario, seed, labels, parts, dataset.num_classes, images)
        except AttackError as error:
            if not (names := named_classes(dataset.class_names)):
                raise
            raise AttackError(f"{error}; classes: {names}") from error
        if skew is not None:
            threat = skew.under(threat)
        clean = transform.prepare(dataset.train.to(device)).images
        root, test = Root.of(scenario, seed, dataset), dataset.test
        if root is not None:
            threat, test = root.behind(threat), root.scored(test)
        copies = threat.copies
        return cls(
            scenario=scenario,
            seed=seed,
            data_dir=folder,
            dataset=dataset,
            transform=transform,
            train_images=clean,
            test=transform.prepare(test.to(device)),
            parts=list(threat.parts),
            threat=threat,
            copies=None if copies is None else _like(clean, copies.images, transform),
            skew=() if skew is None else skew.audit,
            probe=_probe(success_of(scenario), test),
            root=root,
        )

    def initial_model(self) -> nn.Module:
        """The global model before round 1, on the CPU. Raises ModelError."""
        file = weights_file(self.scenario.weights, self.scenario.model, self.data_dir)
        before = None if file is None else weights_digest(file)
        model = build_model(
            self.scenario,
            num_classes=self.dataset.num_classes,
            channels=self.transform.channels,
            size=self.transform.size,
            seed=self.seed,
            data_dir=self.data_dir,
        )
        if file is not None and before is not None:
            if weights_digest(file) != before:
                raise ModelError(f"weights {file} changed while they were read: run again")
            self._weights.add(before)
        return model

    @property
    def weights(self) -> str | None:
        """The digest of the weights that were loaded, None without; `CHANGED` if of several."""
        if self.scenario.weights is None:
            return None
        return next(iter(self._weights)) if len(self._weights) == 1 else CHANGED

    @cached_property
    def epochs(self) -> Indices:
        """Local epochs of each client, fixed for the run, [num_clients] int64.

        Under ``local_steps`` those that the steps begin. Those of malicious clients are what the
        attack makes of them where it acts; a server that trains makes the most that a client may.
        Raises AttackError.
        """
        return self._work[0]

    @cached_property
    def steps(self) -> Indices:
        """Local steps of each client in a round in which the attack acts, [num_clients] int64."""
        return self._work[1]

    def epochs_of(self, client: int, round: int) -> int:
        """Local epochs of ``client`` in ``round`` (from 1), as far as they are begun."""
        return int(self._work_of(client, round)[0][client])

    def steps_of(self, client: int, round: int) -> int:
        """Local steps of ``client`` in ``round`` (from 1)."""
        return int(self._work_of(client, round)[1][client])

    def _work_of(self, client: int, round: int) -> tuple[Indices, Indices]:
        honest = client < self.scenario.num_clients and not self.threat.acts(round)
        return self._honest_work if honest else self._work

    @cached_property
    def _drawn(self) -> tuple[Indices, Indices | None]:
        """Of honest work: (epochs, None) of each client, or (epochs that are begun, steps)."""
        scenario = self.scenario
        low, high = scenario.steps_range or scenario.epochs_range
        drawing = stream(self.seed, Purpose.LOCAL_EPOCHS)
        drawn = drawing.integers(low, high + 1, size=scenario.num_clients)
        if self.root is not None:
            drawn = np.append(drawn, high)
        if scenario.steps_range is None:
            return drawn, None
        pairs = zip(map(len, self.parts), drawn.tolist(), strict=True)
        begun = [begun_epochs(n, count, scenario.batch_size) for n, count in pairs]
        return np.array(begun, np.int64), drawn

    @cached_property
    def _work(self) -> tuple[Indices, Indices]:
        return self._counted(*self.threat.local_work(*self._drawn))

    @cached_property
    def _honest_work(self) -> tuple[Indices, Indices]:
        return self._counted(*self._drawn)

    def _counted(self, epochs: Indices, steps: Indices | None) -> tuple[Indices, Indices]:
        """(epochs that are begun, steps) of each client; ``steps`` 0: those of whole epochs."""
        size, epochs, counts = self.scenario.batch_size, epochs.copy(), np.zeros_like(epochs)
        asked = counts.tolist() if steps is None else steps.tolist()
        for client, (n, count) in enumerate(zip(map(len, self.parts), asked, strict=True)):
            if not n:
                continue
            counts[client] = count or local_steps(n, int(epochs[client]), size)
            if count:
                epochs[client] = begun_epochs(n, count, size)
        return epochs, counts

    @cached_property
    def pool(self) -> torch.Tensor:
        """The images that clients train on, [n + q, h, w, c]: the clean ones, then the copies."""
        if self.copies is None:
            return self.train_images
        return torch.cat((self.train_images, self.copies))

    def raw(self, places: torch.Tensor) -> torch.Tensor:
        """The images at ``places`` [k] of the pool as they are before any transform, on the CPU."""
        images, copies = self.dataset.train.images, self.threat.copies
        if copies is None:
            return images[places]
        own, count = places >= len(images), len(images)
        result = images[torch.where(own, 0, places)]
        result[own] = copies.images[places[own] - count]
        return result

    @cached_property
    def probed(self) -> Split | None:
        """The probe set on the device, transformed as ``test`` is; None where there is none."""
        if self.probe is None:
            return None
        return self.transform.prepare(self.probe.to(self.test.labels.device))

    def cohort(self, round: int) -> tuple[int, ...]:
        """The clients that train in ``round`` (from 1), ascending: those drawn and not absent."""
        drawn = self.drawn(round)
        absent = self.absences.of(round, drawn)
        return tuple(client for client in drawn if client not in absent)

    @cached_property
    def absences(self) -> Absences:
        """Who does not answer."""
        return Absences(self.scenario, self.seed)

    def absent(self, rounds: int) -> tuple[tuple[int, ...], ...]:
        """Those drawn that do not answer, in each of ``rounds``; empty where all always do."""
        if self.scenario.absent_fraction is None:
            return ()
        return tuple(self.absences.of(r, self.drawn(r)) for r in range(1, rounds + 1))

    def drawn(self, round: int) -> tuple[int, ...]:
        """The clients sampled for ``round`` (from 1) without replacement, ascending.

        Clients without samples are never drawn.
        """
        generator = stream(self.seed, Purpose.COHORT, round=round)
        able = self._able
        drawn = generator.choice(len(able), size=self.scenario.cohort_size, replace=False)
        return tuple(sorted(int(able[i]) for i in drawn))

    @property
    def dealt(self) -> list[Indices]:
        """The training samples of each client, without the server's root set."""
        return self.parts[: self.scenario.num_clients]

    @cached_property
    def _able(self) -> Indices:
        return np.array([c for c, part in enumerate(self.dealt) if len(part)], dtype=np.int64)

    @property
    def poisoning(self) -> Threat:
        """The name of ``threat`` that suites of others know."""
        return self.threat

    @property
    def success_classes(self) -> tuple[int, int] | None:
        """(source, target) of a targeted attack, else None."""
        attack = success_of(self.scenario)
        return None if attack is None else attack.success_classes

    @property
    def measures_success(self) -> bool:
        """Whether an attack success rate is measured."""
        return self.success_classes is not None or self.probe is not None


def _like(clean: torch.Tensor, images: torch.Tensor, transform: Transform) -> torch.Tensor:
    """``images`` on the device of the ``clean`` ones, transformed as far as these are."""
    moved = images.to(clean.device)
    return moved if moved.shape[1:] == clean.shape[1:] else transform.geometry(moved)


def _probe(attack: Attack | None, test: Split) -> Split | None:
    """What the success of ``attack`` is measured on; None where that is no set of its own."""
    if attack is None:
        return None
    if attack.success_classes is not None:
        return None
    probe = attack.probe(Samples(read_only(test.labels), read_only(test.images)))
    if probe is None or probe.images is None or not len(probe.labels):
        return None
    return Split(torch.from_numpy(probe.images), torch.from_numpy(probe.labels))
