"""The threat of a run: who is malicious, what they do to data and local work, with the proof of it.

The draws are nested: a larger malicious fraction adds clients to the malicious ones, a larger
poison ratio adds samples to the poisoned ones, and what becomes of a sample depends on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from fedcore.attacks.attack import Attack, Draw, Samples, Scores, Work, attack_of
from fedcore.errors import AttackError
from fedcore.exchange.fingerprints import content, long, total
from fedcore.federation.malicious import in_order
from fedcore.federation.malicious import malicious_clients as malicious_clients
from fedcore.federation.poison_checks import require_effect, require_samples
from fedcore.federation.poisoned import ClientPoison as ClientPoison
from fedcore.federation.poisoned import Copies as Copies
from fedcore.federation.poisoned import Poisoned
from fedcore.scenario import Scenario, round_half_up
from fedcore.streams import Indices, Purpose, stream

ONCE = -1
"""In the place of a round: the draw that holds for the whole run."""


@dataclass(frozen=True)
class Threat:
    """The attack of a run at work on its training data and local work. Made by `prepare`.

    ``malicious`` is drawn here and nowhere else. ``labels`` are those of the rounds in which the
    attack acts. ``pool`` are the images that a client trains on in these, by client, where some of
    them are copies; ``seen`` those without an attack, where they are not its samples.
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
    seen: dict[int, Indices] = field(default_factory=dict, repr=False)
    _clean: dict[int, Indices] = field(default_factory=dict, repr=False)  # of poisoned clients
    _places: dict[int, int] = field(default_factory=dict, repr=False)
    _scored: dict[int, tuple[int, Indices]] = field(default_factory=dict, repr=False)
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
        attack, sizes = attack_of(scenario), [len(part) for part in parts]
        malicious = malicious_clients(scenario, seed, sizes)
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
        order = in_order(scenario, seed, sizes)
        result._places.update((int(c), p) for p, c in enumerate(order))
        result._clean.update((int(c), result.labels[parts[c]]) for c in malicious)
        first = [result._draw(int(c), 1 if redraw else ONCE, images) for c in malicious]
        require_effect(scenario, attack.data, [drawn.poison for drawn in first])
        for drawn in first:
            client = drawn.poison.client
            result._first[client] = drawn.poison
            result._draws[client] = {} if redraw else {ONCE: drawn.poison}
            if not redraw:
                result.labels[parts[client]] = drawn.labels
        return result._with_copies(first)

    def acts(self, round: int) -> bool:
        """Whether malicious clients attack in ``round`` (from 1)."""
        return self.attack is not None and self.attack.acts(round)

    def labels_of(self, client: int, round: int) -> Indices:
        """The labels that ``client`` trains on in ``round`` (from 1), in the order of its part.

        Under redraw a malicious client's labels are drawn for the round and enter the audit,
        once however often they are asked for. AttackError where the attack needs scores that the
        engine has not given.
        """
        if client not in self._draws:
            return self.labels[self.parts[client]]
        if not self.acts(round):
            return self._clean[client]
        if ONCE in self._draws[client]:
            return self.labels[self.parts[client]]
        if self.wants_scores(client, round):
            raise AttackError(
                f"attack {self.scenario.attack!r} needs the global model's scores of each client's "
                "samples, which this engine does not work out: choose --engine sequential"
            )
        if client in self._scored:
            return self._scored[client][1]
        drawn = self._draw(client, round)
        self._draws[client][round] = drawn.poison
        return drawn.labels

    def wants_scores(self, client: int, round: int) -> bool:
        """Whether ``client`` draws labels from scores in ``round`` and has not done so yet."""
        attack = None if self.attack is None else self.attack.data
        if attack is None or not attack.needs_scores:
            return False
        due = client in self._draws and self.acts(round)
        return due and self._scored.get(client, (0,))[0] != round

    def see(self, client: int, round: int, scores: Scores) -> Indices:
        """Have ``client`` draw its labels in ``round`` from ``scores`` [n, C]; the labels [n].

        The scores are those of its samples, in the order of its part, under the global model that
        the round begins with. The draw enters the audit.
        """
        drawn = self._draw(client, round, scores=scores)
        self._draws[client][round] = drawn.poison
        self._scored[client] = round, drawn.labels
        return drawn.labels

    def forget(self, client: int) -> None:
        """Have ``client`` draw its labels from scores anew."""
        self._scored.pop(client, None)

    def learn(self, client: int, round: int, labels: Indices) -> None:
        """Have the audit count ``labels`` [n] that ``client`` drew from scores in a process."""
        changed = int(np.count_nonzero(labels != self._clean[client]))
        self._draws[client][round] = replace(self._first[client], changed=changed)
        self._scored[client] = round, labels

    def note(self, round: int, clients: Sequence[int]) -> None:
        """Have the audit count what ``clients`` draw in ``round``, who draw it elsewhere."""
        if self.attack is not None and self.attack.data is not None and self.attack.data.redraw:
            for client in clients:
                self.labels_of(client, round)

    def samples_of(self, client: int, round: int) -> Indices:
        """The images that ``client`` trains on in ``round``, in the order of its part.

        They are places in the pool.
        """
        own = self.pool.get(client) if self.acts(round) else None
        return self.clean_samples_of(client) if own is None else own

    def clean_samples_of(self, client: int) -> Indices:
        """The images that ``client`` has without an attack, in the order of its part."""
        own = self.seen.get(client)
        return self.parts[client] if own is None else own

    def local_work(self, epochs: Indices, steps: Indices | None) -> tuple[Indices, Indices | None]:
        """Local epochs, and steps where these are counted, [num_clients], of those of honest work.

        They are those of rounds in which the attack acts; 0 steps are those of whole epochs.
        Raises `AttackError` where the attack asks for other than whole numbers, or changes nothing.
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

    def _draw(
        self,
        client: int,
        round: int,
        images: torch.Tensor | None = None,
        scores: Scores | None = None,
    ) -> Poisoned:
        """One draw of a client's poison; where ``scores`` are missing yet, of the counts alone."""
        assert self.attack is not None
        attack, part = self.attack.data, self.parts[client]
        assert attack is not None
        clean = self._clean[client]
        candidates = np.flatnonzero(attack.eligible(clean))
        selection = stream(self.seed, Purpose.POISONED_SAMPLES, round=round, client=client)
        order = selection.permutation(candidates)
        count = round_half_up(attack.poison_ratio * len(candidates))
        poison = ClientPoison(client, len(clean), len(candidates), count, changed=0, draws=1)
        if attack.needs_scores and scores is None:
            return Poisoned(clean, order[:count], None, poison)
        pixels = None
        if attack.changes_images:
            assert images is not None, "an attack on images is handed the images"
            pixels = images.numpy()[part[order]]
        # all candidates are poisoned, so that none of it depends on how many are taken
        generator = stream(self.seed, Purpose.NEW_LABELS, round=round, client=client)
        poisoned = attack.poison(
            Samples(clean[order], None if pixels is None else pixels.copy()),
            Draw(
                self.num_classes,
                client,
                generator,
                place=self._places[client],
                seed=self.seed,
                scores=None if scores is None else scores[order],
            ),
        )
        require_samples(self.scenario, attack, poisoned, clean[order], pixels, self.num_classes)
        labels = clean.copy()
        labels[order[:count]] = poisoned.labels[:count]
        poison = replace(poison, changed=int(np.count_nonzero(labels != clean)))
        if poisoned.images is None or pixels is None:
            return Poisoned(labels, order[:count], None, poison)
        taken = poisoned.images[:count]
        other = int((taken != pixels[:count]).any(axis=(1, 2, 3)).sum())
        digest = long(int(total(content(torch.from_numpy(taken)))))
        poison = replace(poison, images_changed=other, images=digest)
        return Poisoned(labels, order[:count], taken, poison)

    def _with_copies(self, drawn: Sequence[Poisoned]) -> Threat:
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
