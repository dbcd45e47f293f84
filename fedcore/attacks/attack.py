"""Attacks: what malicious clients do to their data, to their local work, or to what they send.

An attack has up to three parts, one for each place where it acts: ``data`` before training,
``work`` during training, ``update`` after training and before privacy. The engines ask for these
and never for a class. An attack of one kind is its own part::

    @ATTACKS.register("signflip", "sends the negative of its own update")
    class SignFlip(UpdateAttack):
        def craft(self, seen: Seen) -> torch.Tensor:
            return -seen.own

and a composed attack hands out the parts of others: ``Scaled.data`` is ``self.of.data``. An attack
is a frozen value; all that it draws comes from the generator that it is handed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from fedcore.attacks import old_style
from fedcore.attacks.given import Draw as Draw
from fedcore.attacks.given import Images as Images
from fedcore.attacks.given import Samples as Samples
from fedcore.attacks.given import Scores as Scores
from fedcore.attacks.given import Seen as Seen
from fedcore.attacks.given import Work as Work
from fedcore.components.component import Component
from fedcore.components.kinds import ATTACKS as ATTACKS
from fedcore.components.parameters import param
from fedcore.exchange.cohort import Memory
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    import torch

    from fedcore.exchange.sent import Sent
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


class Attack(Component):
    """Base of all attacks; subclasses are registered in `ATTACKS`. See the module's docstring."""

    kind: ClassVar[str] = "attack"

    @property
    def data(self) -> DataAttack | None:
        """What is done to the training data; None: nothing."""
        return None

    @property
    def work(self) -> LocalWork | None:
        """What is done to the local work; None: nothing."""
        return None

    @property
    def update(self) -> UpdateAttack | None:
        """What is done to the updates; None: nothing."""
        return None

    @property
    def success(self) -> Attack | None:
        """The attack that says what success is; None: no success rate is defined."""
        own = type(self).probe is not Attack.probe or self.success_classes is not None
        return self if own else None

    @property
    def success_classes(self) -> tuple[int, int] | None:
        """(source, target) where success is a test sample of source that is taken for target."""
        return None

    def probe(self, test: Samples) -> Samples | None:
        """The probe set that success is measured on, made of the ``test`` split with its images.

        Success is an image of it that is taken for its label. None where success is no such
        share, or where `success_classes` say what it is.
        """
        return None

    @property
    def probe_attack(self) -> Attack | None:
        """The attack that makes the probe set, at a poison ratio of 0; None without a probe set.

        A clean twin has it in the place of the attack.
        """
        source = self.success
        if source is None or source.success_classes is not None:
            return None
        ratio = {"poison_ratio": 0.0} if "poison_ratio" in source.specs() else {}
        return type(source).checked({**source.parameters(), **ratio})

    def acts(self, round: int) -> bool:
        """Whether malicious clients attack in ``round`` (from 1); in others they are honest.

        Asked of the attack that a scenario names, not of those in its parameters.
        """
        return True

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """Preconditions that a data set breaks, each as a message.

        ``shape`` is that of an image: (height, width, channels).
        """
        return []

    def audit_problems(self, record: Record) -> list[str]:
        """Where what ``record`` shows is not the signature of this attack, each as a message."""
        return []


class DataAttack(Attack):
    """Changes labels, images or both of a share of a malicious client's training samples.

    The share is ``poison_ratio`` of the eligible samples, halves up. Which ones is
    drawn once a run, or under ``redraw`` at every participation. An attack that ``changes_images``
    makes its copies once a run, so that it has no redraw; ``may_keep_labels`` says that a poisoned
    sample can keep its label. One that ``needs_scores`` is given ``draw.scores`` and must redraw;
    what its labels must be stands a second time in `labels_due`.
    """

    changes_images: ClassVar[bool] = False
    may_keep_labels: ClassVar[bool] = False
    needs_scores: ClassVar[bool] = False
    redraw = False
    poison_ratio: float = param("share of their samples poisoned", default=0.0, low=0, high=1)

    @property
    def data(self) -> DataAttack:
        return self

    def problems(self, scenario: Scenario) -> list[str]:
        """A poison ratio of 0."""
        if self.poison_ratio:
            return []
        return [f"attack {self.name!r} with poison_ratio=0 would change nothing: raise it"]

    def eligible(self, labels: Indices) -> npt.NDArray[np.bool_]:
        """Which samples may be poisoned, [n] bool; the poison ratio is a share of these."""
        return np.ones(len(labels), dtype=np.bool_)

    @abstractmethod
    def poison(self, samples: Samples, draw: Draw) -> Samples:
        """What poisoned ``samples`` become, in their order.

        ``samples`` are all eligible ones of a client in a random order, of which the first are
        taken. Images are given and returned where the attack ``changes_images``, else None.
        """

    def labels_due(self, labels: Indices, scores: Scores) -> Indices | None:
        """The new labels [k] of ``labels`` with ``scores`` [k, C], worked out a second time.

        For the check of an attack that ``needs_scores``: it shares no code with `poison`. A label
        whose score is the same within rounding counts as this one. None where there is no such
        second form; then `poison` is asked again.
        """
        return None


class LabelAttack(DataAttack):
    """Changes labels only."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        old_style.adapt(cls)

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        return Samples(self.relabel(samples.labels, draw.num_classes, draw.generator))

    @abstractmethod
    def relabel(self, labels: Indices, num_classes: int, generator: Generator) -> Indices:
        """New labels, [k] int64, of the poisoned samples whose ``labels`` are given."""


class LocalWork(Attack):
    """Changes how much a malicious client trains, in the same way in every round."""

    @property
    def work(self) -> LocalWork:
        return self

    @abstractmethod
    def changed(self, base: Work) -> Work:
        """The work of a malicious client that would honestly do ``base``.

        What it leaves as it is it takes over: ``dataclasses.replace(base, epochs=...)``.
        """


class UpdateAttack(Attack):
    """Changes the updates of the malicious clients of a round, which they make up together.

    Of an update they change what ``touches`` names: "parameters" (`craft`), "buffers", the float
    ones (`craft_buffers`), or both; the rest and counters are those of honest work. ``knows`` says
    which updates they see: ``"own"``, their honest ones, or ``"benign"``, those of the others, too.
    A class whose paper has both makes it a parameter. ``one_row``: they all send the same row.
    """

    knows = "own"
    one_row = False
    touches: ClassVar[tuple[str, ...]] = ("parameters",)

    @property
    def update(self) -> UpdateAttack:
        return self

    @property
    def breaks(self) -> bool:
        """Whether finite updates may become rows that are not; here: by a factor over 1e18."""
        numbers = (v for v in self.parameters().values() if isinstance(v, int | float))
        return any(abs(value) > 1e18 for value in numbers)

    @abstractmethod
    def craft(self, seen: Seen) -> torch.Tensor:
        """What the malicious clients send in place of ``seen.own``, [m, P] of its type."""

    def craft_buffers(self, own: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
        """What they send of float buffers in place of ``own``, [m, B] of its type.

        Changes of the global ones, ``model`` [B], as ``own`` are. Asked where ``touches`` has it.
        """
        return own

    def sends_own(self, clients: int, malicious: int) -> bool:
        """Whether ``malicious`` among ``clients`` of a round send what they trained, by definition.

        As of what they see nothing else can be made up.
        """
        return False

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Numbers by which `audit_problems` knows a row of this attack; apart from `craft`."""
        return {}

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        """What the record of a run must say of the attack; ``memory`` is that of `Seen`."""
        return ()


def attack_of(scenario: Scenario) -> Attack | None:
    """The attack of ``scenario``; None for a clean one."""
    attack: Attack | None = scenario.parts.attack
    return attack


def work_in_steps(scenario: Scenario) -> Work | None:
    """What malicious clients do otherwise within their steps; None where they do not."""
    attack = attack_of(scenario)
    if attack is None or attack.work is None:
        return None
    work = attack.work.changed(Work(scenario.epochs_range[0]))
    return work if work.in_steps else None


def success_of(scenario: Scenario) -> Attack | None:
    """What says what success is in ``scenario``: its attack, or its probe where nobody attacks."""
    measured: Attack | None = scenario.parts.attack or scenario.parts.probe
    return None if measured is None else measured.success
