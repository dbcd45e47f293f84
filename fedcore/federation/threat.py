"""Who is malicious, which of their samples are poisoned, what was changed: with the proof of it.

The draws are nested: a larger malicious fraction adds clients to the malicious ones, a larger
poison ratio adds samples to the poisoned ones, and a sample's new label depends on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.errors import AttackError
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
    """What an attack did to one malicious client: the audit of the run has one of each.

    ``poisoned`` and ``changed`` are sums over ``draws``; ``samples`` and ``eligible`` are the
    client's and the same in every draw.
    """

    client: int
    samples: int  # training samples
    eligible: int  # of these, the ones that the attack may poison
    poisoned: int  # selected: round_half_up(poison_ratio * eligible) in each draw
    changed: int  # selected, and the new label differs from the old one
    draws: int  # 1, or under redraw the participations so far


@dataclass(frozen=True)
class Poisoning:
    """The training labels of a run after its attack. Made by `prepare`."""

    scenario: Scenario
    seed: int
    num_classes: int
    parts: Sequence[Indices]
    malicious: Indices  # ascending, [num_malicious]
    labels: Indices  # [n], a copy; clean where nobody is malicious, and under redraw
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
    ) -> Poisoning:
        """Poisons ``labels`` ([n] int64) of the malicious among the clients with ``parts``.

        ``parts`` are the training samples by client. Without an attack the labels stay as they
        are. Raises `AttackError` where the attack cannot apply to these data, where the poison
        ratio rounds to no sample on every malicious client, or where no label would change;
        under redraw that is judged by the draw of round 1.
        """
        malicious = malicious_clients(scenario, seed)
        result = cls(scenario, seed, num_classes, parts, malicious, np.array(labels, np.int64))
        if scenario.attack is None:
            return result
        problems = ATTACKS[scenario.attack].data_problems(scenario, num_classes)
        if problems:
            raise AttackError("; ".join(problems))
        first = [result._draw(int(c), 1 if scenario.redraw else ONCE) for c in malicious]
        _require_effect(scenario, [poison for _, poison in first])
        for poisoned_labels, poison in first:
            result._first[poison.client] = poison
            result._draws[poison.client] = {}
            if not scenario.redraw:
                result.labels[parts[poison.client]] = poisoned_labels
                result._draws[poison.client][ONCE] = poison
        return result

    def labels_of(self, client: int, round: int) -> Indices:
        """The labels that ``client`` trains on in ``round`` (from 1), in the order of its part.

        Under redraw a malicious client's labels are drawn for the round and enter the audit,
        once however often they are asked for.
        """
        if not self.scenario.redraw or client not in self._draws:
            return self.labels[self.parts[client]]
        labels, poison = self._draw(client, round)
        self._draws[client][round] = poison
        return labels

    def audit(self) -> tuple[ClientPoison, ...]:
        """What was done to each malicious client so far, in the order of `malicious`."""
        return tuple(
            replace(
                self._first[client],
                poisoned=sum(draw.poisoned for draw in draws.values()),
                changed=sum(draw.changed for draw in draws.values()),
                draws=len(draws),
            )
            for client, draws in self._draws.items()
        )

    @property
    def _attack(self) -> type[LabelAttack]:
        assert self.scenario.attack is not None
        return ATTACKS[self.scenario.attack]

    def _draw(self, client: int, round: int) -> tuple[Indices, ClientPoison]:
        """A client's labels as one draw poisons them; ``self.labels`` must hold its clean ones."""
        clean = self.labels[self.parts[client]]
        candidates = np.flatnonzero(self._attack.eligible(clean, self.scenario))
        selection = stream(self.seed, Purpose.POISONED_SAMPLES, round=round, client=client)
        order = selection.permutation(candidates)
        # all candidates get a new label, so that it does not depend on how many are poisoned
        new = self._attack.relabel(
            clean[order],
            self.num_classes,
            self.scenario,
            stream(self.seed, Purpose.NEW_LABELS, round=round, client=client),
        )
        count = round_half_up(self.scenario.poison_ratio * len(candidates))
        labels = clean.copy()
        labels[order[:count]] = new[:count]
        changed = int(np.count_nonzero(labels != clean))
        return labels, ClientPoison(client, len(clean), len(candidates), count, changed, draws=1)


def _require_effect(scenario: Scenario, poisons: Sequence[ClientPoison]) -> None:
    """`AttackError` unless the attack changed a label."""
    name, ratio, clients = scenario.attack, scenario.poison_ratio, len(poisons)
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
    if sum(poison.changed for poison in poisons) == 0:
        raise AttackError(
            f"attack {name!r} selected {poisoned} samples on {clients} malicious clients and "
            "changed none of their labels (each maps to itself): choose another attack or partition"
        )
