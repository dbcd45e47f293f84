"""The threat of a run: who is malicious, what they do to data and local work, with the proof of it.

The draws are nested: a larger malicious fraction adds clients to the malicious ones, a larger
poison ratio adds samples to the poisoned ones, and what becomes of a sample depends on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from fedcore.attacks.attack import Attack, DataAttack, Draw, Images, Samples, Work, attack_of
from fedcore.errors import AttackError
from fedcore.exchange.fingerprints import content, long, total
from fedcore.scenario import Scenario, round_half_up
from fedcore.streams import Indices, Purpose, stream

ONCE = -1
"""In the place of a round: the draw that holds for the whole run."""


def malicious_clients(scenario: Scenario, seed: int) -> Indices:
    """The malicious clients of a run, ascending, [scenario.num_malicious] int64."""
    order = stream(seed, Purpose.MALICIOUS_SET).permutation(scenario.num_clients)
    return np.sort(order[: scenario.num_malicious]).astype(np.int64)


@dataclass(frozen=True)
class ClientPoison:
    """What an attack did to one malicious client's data: the audit has one of each.

    ``poisoned``, ``changed`` and ``images_changed`` are sums over ``draws``; ``samples`` and
    ``eligible`` are the client's and the same in every draw. ``images`` is the order-free digest
    of the poisoned images, empty where the attack leaves images alone.
    """

    client: int
    samples: int  # training samples
    eligible: int  # of these, the ones that the attack may poison
    poisoned: int  # selected: round_half_up(poison_ratio * eligible) in each draw
    changed: int  # selected, and the new label differs from the old one
    draws: int  # 1, or under redraw the participations so far
    images_changed: int = field(default=0, metadata={"later": True})  # selected, other pixels
    images: str = field(default="", metadata={"later": True})


@dataclass(frozen=True)
class Copies:
    """Poisoned copies of training images, which lie behind the clean ones in the pool.

    ``images`` [q, height, width, channels] uint8, before any transform; ``origins`` [q] are the
    training samples that they stand for. Copy i has the number n + i, n the training samples.
    """

    images: torch.Tensor
    origins: Indices


@dataclass(frozen=True)
class _Poisoned:
    """One draw of one client: labels by its part, places of the selected ones, their images."""

    labels: Indices
    places: Indices
    images: Images | None
    poison: ClientPoison


@dataclass(frozen=True)
class Threat:
    """The attack of a run at work on its training data and local work. Made by `prepare`.

    ``malicious`` is drawn here and nowhere else. ``pool`` are the images that a client trains on,
    by client, where some of them are copies.
    """

    scenario: Scenario
    seed: int
    num_classes: int
    parts: Sequence[Indices]
    attack: Attack | None
    malicious: Indices  # ascending, [num_malicious]
    labels: Indices  # [n], a copy; clean where nobody is malicious, and under redraw
    copies: Copies | None = None
    pool: dict[int, Indices] = field(default_factory=dict, repr=False)
    _first: dict[int, ClientPoison] = field(default_factory=dict, repr=False)
    _draws: dict[int, dict[int, ClientPoison]] = field(default_factory=dict, repr=False)

    @classmethod
    def prepare(
        cls,
        scenario: Scenario,
        seed: int,
        labels: Indices,
        parts: Sequence[Indices],
        num_classes: int,
        images: torch.Tensor | None = None,
    ) -> Threat:
        """Poisons ``labels`` ([n] int64) of the malicious among the clients with ``parts``.

        ``parts`` are the training samples by client, ``images`` [n, height, width, channels] uint8
        those of the data set on the CPU (None: of an attack that changes none). Without an attack
        the labels stay as they are. Raises `AttackError` where the attack cannot apply to these
        data, where the poison ratio rounds to no sample on every malicious client, or where
        nothing would change; under redraw that is judged by the draw of round 1.
        """
        attack, malicious = attack_of(scenario), malicious_clients(scenario, seed)
        own = np.array(labels, np.int64)
        result = cls(scenario, seed, num_classes, parts, attack, malicious, own)
        if attack is None:
            return result
        _, *sides = (0, 1, 1, 1) if images is None else images.shape
        shape = sides[0], sides[1], sides[2]
        if problems := attack.data_problems(num_classes, shape):
            raise AttackError("; ".join(problems))
        if attack.data is None:
            return result
        redraw = bool(attack.data.redraw)
        first = [result._draw(int(c), 1 if redraw else ONCE, images) for c in malicious]
        _require_effect(scenario, attack.data, [drawn.poison for drawn in first])
        for drawn in first:
            client = drawn.poison.client
            result._first[client] = drawn.poison
            result._draws[client] = {} if redraw else {ONCE: drawn.poison}
            if not redraw:
                result.labels[parts[client]] = drawn.labels
        return result._with_copies(first)

    def labels_of(self, client: int, round: int) -> Indices:
        """The labels that ``client`` trains on in ``round`` (from 1), in the order of its part.

        Under redraw a malicious client's labels are drawn for the round and enter the audit,
        once however often they are asked for.
        """
        if client not in self._draws or ONCE in self._draws[client]:
            return self.labels[self.parts[client]]
        drawn = self._draw(client, round)
        self._draws[client][round] = drawn.poison
        return drawn.labels

    def note(self, round: int, clients: Sequence[int]) -> None:
        """Have the audit count what ``clients`` draw in ``round``, who draw it elsewhere."""
        if self.attack is not None and self.attack.data is not None and self.attack.data.redraw:
            for client in clients:
                self.labels_of(client, round)

    def samples_of(self, client: int) -> Indices:
        """The images that ``client`` trains on, in the order of its part: places in the pool."""
        return self.pool.get(client, self.parts[client])

    def epochs(self, honest: Indices) -> Indices:
        """Local epochs by client, [num_clients], of those that all would make, ``honest``.

        Raises `AttackError` where the attack asks for other than whole epochs, or changes nothing.
        """
        return self.local_work(honest, None)[0]

    def local_work(self, epochs: Indices, steps: Indices | None) -> tuple[Indices, Indices | None]:
        """As `epochs`, with the local steps where these are counted; 0: those of whole epochs.

        Epochs are then those that are begun by ``steps``, and of no account.
        """
        if self.attack is None or self.attack.work is None or not len(self.malicious):
            return epochs, steps
        idle, epochs = True, epochs.copy()
        counts = np.zeros_like(epochs) if steps is None else steps.copy()
        for client in self.malicious:
            base = Work(int(epochs[client]), steps=None if steps is None else int(steps[client]))
            work = self.attack.work.changed(base)
            for count, what in ((work.epochs, "epochs"), (work.steps or 1, "steps")):
                if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                    raise AttackError(
                        f"attack {self.scenario.attack!r} asks client {client} for {count!r} local "
                        f"{what}: LocalWork.changed must give an integer >= 1"
                    )
            epochs[client], counts[client] = work.epochs, work.steps or 0
            idle &= work == base
        if idle:
            raise AttackError(
                f"attack {self.scenario.attack!r} changes the local work of none of "
                f"{len(self.malicious)} malicious clients: choose another parameter or attack"
            )
        return epochs, counts

    def audit(self) -> tuple[ClientPoison, ...]:
        """What was done to each malicious client's data so far, in the order of `malicious`."""
        return tuple(
            replace(
                self._first[client],
                poisoned=sum(draw.poisoned for draw in draws.values()),
                changed=sum(draw.changed for draw in draws.values()),
                draws=len(draws),
            )
            for client, draws in self._draws.items()
        )

    def _draw(self, client: int, round: int, images: torch.Tensor | None = None) -> _Poisoned:
        """One draw of a client's poison; ``self.labels`` must hold its clean ones."""
        assert self.attack is not None
        attack, part = self.attack.data, self.parts[client]
        assert attack is not None
        clean = self.labels[part]
        candidates = np.flatnonzero(attack.eligible(clean))
        selection = stream(self.seed, Purpose.POISONED_SAMPLES, round=round, client=client)
        order = selection.permutation(candidates)
        pixels = None
        if attack.changes_images:
            assert images is not None, "an attack on images is handed the images"
            pixels = images.numpy()[part[order]]
        # all candidates are poisoned, so that none of it depends on how many are taken
        generator = stream(self.seed, Purpose.NEW_LABELS, round=round, client=client)
        poisoned = attack.poison(
            Samples(clean[order], None if pixels is None else pixels.copy()),
            Draw(self.num_classes, client, generator),
        )
        _require_samples(self.scenario, attack, poisoned, clean[order], pixels, self.num_classes)
        count = round_half_up(attack.poison_ratio * len(candidates))
        labels = clean.copy()
        labels[order[:count]] = poisoned.labels[:count]
        changed = int(np.count_nonzero(labels != clean))
        poison = ClientPoison(client, len(clean), len(candidates), count, changed, draws=1)
        if poisoned.images is None or pixels is None:
            return _Poisoned(labels, order[:count], None, poison)
        taken = poisoned.images[:count]
        other = int((taken != pixels[:count]).any(axis=(1, 2, 3)).sum())
        digest = long(int(total(content(torch.from_numpy(taken)))))
        poison = replace(poison, images_changed=other, images=digest)
        return _Poisoned(labels, order[:count], taken, poison)

    def _with_copies(self, drawn: Sequence[_Poisoned]) -> Threat:
        """This threat with the poisoned images of ``drawn`` behind the clean ones."""
        stacks, origins, count = [], [], len(self.labels)
        for one in drawn:
            if one.images is None:
                continue
            part = self.parts[one.poison.client]
            own = part.copy()
            own[one.places] = np.arange(count, count + len(one.places))
            self.pool[one.poison.client] = own
            count += len(one.places)
            stacks.append(one.images)
            origins.append(part[one.places])
        if not stacks:
            return self
        copies = Copies(torch.from_numpy(np.concatenate(stacks)), np.concatenate(origins))
        return replace(self, copies=copies)


Poisoning = Threat
"""The name that suites of others know."""


def _require_samples(
    scenario: Scenario,
    attack: DataAttack,
    poisoned: Samples,
    labels: Indices,
    pixels: Images | None,
    num_classes: int,
) -> None:
    """`AttackError` unless ``poisoned`` are as many samples as the attack got, in their form."""
    given = np.asarray(poisoned.labels)
    if given.shape != labels.shape or given.dtype != np.int64:
        what = f"{len(labels)} int64 labels, got {given.dtype} of shape {given.shape}"
    elif len(given) and not 0 <= int(given.min()) <= int(given.max()) < num_classes:
        what = f"labels in [0, {num_classes - 1}], got {int(given.min())} to {int(given.max())}"
    elif (poisoned.images is None) != (pixels is None):
        what = f"images where it changes_images={attack.changes_images}, and only there"
    elif pixels is not None and poisoned.images is not None:
        form = poisoned.images.shape, poisoned.images.dtype
        if form == (pixels.shape, pixels.dtype):
            return
        what = f"uint8 images of shape {pixels.shape}, got {form[1]} of shape {form[0]}"
    else:
        return
    raise AttackError(f"attack {scenario.attack!r} must give {what}: correct its poison method")


def _require_effect(
    scenario: Scenario, attack: DataAttack, poisons: Sequence[ClientPoison]
) -> None:
    """`AttackError` unless the attack changed a label or an image."""
    name, ratio, clients = scenario.attack, attack.poison_ratio, len(poisons)
    most = max((poison.eligible for poison in poisons), default=0)
    poisoned = sum(poison.poisoned for poison in poisons)
    if most == 0:
        raise AttackError(
            f"attack {name!r} found no sample that it may poison on any of {clients} malicious "
            "clients: raise malicious_fraction, choose another class, or change the seed"
        )
    if poisoned == 0:
        raise AttackError(
            f"attack {name!r} with poison_ratio={ratio} rounds to 0 samples on every one of "
            f"{clients} malicious clients (the largest has {most} samples to poison): raise "
            "poison_ratio or give clients more samples"
        )
    if sum(poison.images_changed for poison in poisons):
        return
    if attack.changes_images:
        raise AttackError(
            f"attack {name!r} selected {poisoned} samples on {clients} malicious clients and "
            "changed none of their images: choose another attack or data set"
        )
    if sum(poison.changed for poison in poisons) == 0:
        raise AttackError(
            f"attack {name!r} selected {poisoned} samples on {clients} malicious clients and "
            "changed none of their labels (each maps to itself): choose another attack or partition"
        )
