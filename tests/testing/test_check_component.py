"""`check_component` passes what is in order, and names what is not."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedcore.attacks.attack import (
    ATTACKS,
    DataAttack,
    Draw,
    LabelAttack,
    Samples,
    Seen,
    UpdateAttack,
)
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.components.parameters import REQUIRED, param
from fedcore.components.registry import REGISTRIES
from fedcore.data.checks import digest
from fedcore.data.dataset import Dataset, Source, Split
from fedcore.exchange.cohort import Cohort
from fedcore.models.mlp import Mlp
from fedcore.optimizers.optimizer import Optimizer
from fedcore.optimizers.solvers import SgdSolver
from fedcore.partition.iid import Iid
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.strategy import Strategy
from fedcore.testing import check_component
from tests.attacks.examples import Opposed, Overtrain

GIVEN = {
    "alpha": 0.5, "classes_per_client": 3, "norm_bound": 1.0, "mu": 0.1, "source_class": 1,
    "target_class": 7, "epsilon": 20.0, "noise_multiplier": 1.0, "radius": 0.05, "last_round": 1,
    "of": Backdoor(poison_ratio=0.5),
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {
    "fedbn": {"norm": "batch", "model": "cnn"}, "pathological": {"allow_incomplete": True},
    "buffers": {"norm": "batch", "model": "cnn", "strategy": "median"},
    "alie": {"malicious_fraction": 0.375},  # z is 0 at 2 of 8
    "dba": {"malicious_fraction": 0.5},
    "nonfinite": {"strategy": "median"},  # an average of NaN is the same for all seeds
}  # fmt: skip


def ours() -> list[Any]:
    found = []
    for kind, registry in REGISTRIES.items():
        if kind in ("attack", "strategy", "preaggregation", "partition", "optimizer", "privacy"):
            names = sorted(set(registry) - {"flower"})
        else:  # the others need files, or minutes
            names = {"dataset": ["synthetic"], "model": ["cnn", "mlp"]}.get(kind, [])
        found += [pytest.param(kind, name, id=f"{kind}-{name}") for name in names]
    return found


@pytest.mark.parametrize(("kind", "name"), ours())
def test_every_component_of_ours_passes(kind: str, name: str) -> None:
    cls = REGISTRIES[kind].entry(name).part
    needed = {n: GIVEN[n] for n, spec in cls.specs().items() if spec.default is REQUIRED}
    needed |= {"argument": "300"} if name == "synthetic" else {}
    check_component(cls(**needed), **NEEDS.get(name, {}))


@pytest.mark.parametrize(
    "attack",
    [
        Scaled(of=Backdoor(poison_ratio=0.5), gamma=4.0),
        Scaled(of=SignFlip(stretch=2.0), gamma=0.5),
        Overtrain(),
        Scaled(of=Overtrain(factor=2), gamma=3.0),
        Opposed(),
        Opposed(knows="own"),
    ],
    ids=repr,
)
def test_attacks_of_others_and_composed_ones_pass_in_every_place(attack: Any) -> None:
    check_component(attack)


def test_a_data_set_whose_classes_have_no_names_passes() -> None:
    assert Plain().load(Path()).class_names == tuple("0123456789")
    check_component(Plain())


@pytest.mark.parametrize("strategy", ["krum", "trimmedmean", "flower"])
def test_an_attack_in_front_of_other_strategies(strategy: str) -> None:
    more = {}
    if strategy == "flower":
        pytest.importorskip("flwr")
        more["strategy_spec"] = 'flwr.serverapp.strategy:FedAvg:{"fraction_evaluate": 0.0}'
    check_component(SignFlip(stretch=3.0), strategy=strategy, **more)


class Idle(UpdateAttack):
    """Sends what it has trained."""

    def craft(self, seen: Seen) -> torch.Tensor:
        return seen.own


class Drawn(UpdateAttack):
    """Draws from a global generator."""

    def craft(self, seen: Seen) -> torch.Tensor:
        return seen.own * random.random()


class Wide(UpdateAttack):
    """Sends one row for all."""

    def craft(self, seen: Seen) -> torch.Tensor:
        return -seen.own[:1].repeat(5, 1)


class Honest(LabelAttack):
    """Leaves labels as they are."""

    def relabel(self, labels: Any, num_classes: int, generator: Any) -> Any:
        return labels


class Wild(LabelAttack):
    """Labels that no class has."""

    def relabel(self, labels: Any, num_classes: int, generator: Any) -> Any:
        return labels + num_classes


class Repaints(DataAttack):
    """Changes images, and does not say so."""

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        return Samples(samples.labels, np.zeros((len(samples.labels), 8, 8, 1), np.uint8))


class Loose(UpdateAttack):
    """Takes a parameter from outside its own range."""

    size: float = param("how much", default=2.0, low=0, high=5)

    def __post_init__(self) -> None:
        pass

    def craft(self, seen: Seen) -> torch.Tensor:
        return -self.size * seen.own


class Both(Loose):
    """As loose, and idle."""

    def craft(self, seen: Seen) -> torch.Tensor:
        return seen.own


class Restless(Strategy):
    """Moves the model whatever clients do."""

    def step(self, updates: torch.Tensor, cohort: Cohort, memory: Any) -> torch.Tensor:
        return updates.mean(dim=0) + 1e-3


class Writes(Strategy):
    """Writes into the updates."""

    def step(self, updates: torch.Tensor, cohort: Cohort, memory: Any) -> torch.Tensor:
        return updates.mul_(2).mean(dim=0)


class Unweighted(FedAvg):
    """Gives every client's buffers one weight."""

    def aggregate(self, state: Any, cohort: Cohort, num_parameters: int, rows: Any = None) -> Any:
        equal = dataclasses.replace(cohort, samples=(1,) * len(cohort.samples))
        return super().aggregate(state, equal, num_parameters, rows)


class Stubborn(Optimizer):
    """Goes on where the client before ended."""

    def solver(self, scenario: Any) -> Any:
        class Kept(SgdSolver):
            total: Any = 0

            def _apply(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
                self.total = self.total + gradient
                weights.sub_(self.total, alpha=self.lr)

        return Kept(scenario)


class Plain(Source):
    """Images that are always the same, in classes without names."""

    def load(self, data_dir: Path) -> Dataset:
        return self.drawn(0)

    def drawn(self, seed: int) -> Dataset:
        generator = torch.Generator().manual_seed(seed)
        train, test = (
            Split(
                torch.randint(256, (n, 8, 8, 1), generator=generator, dtype=torch.uint8),
                torch.arange(n) % 10,
            )
            for n in (320, 100)
        )
        return Dataset("plain", train, test, 10, digest(train, test))


class Unsteady(Plain):
    """Reads other images every time."""

    def load(self, data_dir: Path) -> Dataset:
        return self.drawn(random.randrange(2**32))


class Twice(Iid):
    """Deals every sample to two clients."""

    def split(self, labels: Any, scenario: Any, generator: Any) -> Any:
        parts = super().split(labels, scenario, generator)
        return [np.concatenate(pair) for pair in zip(parts, parts[1:] + parts[:1], strict=True)]


class Wider(Mlp):
    """Has a score more than there are classes."""

    def build(self, *, num_classes: int, **shape: Any) -> Any:
        return super().build(num_classes=num_classes + 1, **shape)


class Forgetful(Bucketing):
    """Announces other numbers of rows than it makes."""

    def rows(self, clients: int) -> int:
        return clients


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Idle(), "malicious clients as it was trained, so that it changed nothing"),
        (Drawn(), "a second run of one seed gives other bits"),
        (Wide(), "must send torch.float64 updates of shape"),
        (Honest(poison_ratio=0.5), "changed none of their labels"),
        (Wild(poison_ratio=0.5), "must give labels in \\[0, 9\\]"),
        (Repaints(poison_ratio=0.5), "must give images where it changes_images=False"),
        (Loose(), "size=6 is taken, declared is in \\[0, 5\\]"),
        (Restless(), "moves the model although no client changed anything"),
        (Writes(), "writes into the model or the updates"),
        (Stubborn(), "a second client goes on where the first one ended"),
        (Unsteady(), "it has another digest when it is read again"),
        (Twice(), "deals a sample to several clients"),
        (Wider(), r"must give logits of shape \(4, 10\) for 4 images, got \(4, 11\)"),
        (Unweighted(), "its float buffers .* are not the sample-weighted"),
        (Forgetful(), "its rows\\(\\) says"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_is_not_in_order_is_named(component: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_component(component)


def test_a_class_that_no_worker_can_import_is_named() -> None:
    class Local(SignFlip):
        pass

    Local.__module__, Local.name = "nowhere_at_all", ""
    with pytest.raises(AssertionError, match="cannot be pickled, so that no worker can have it"):
        check_component(Local(stretch=2.0))


@pytest.mark.parametrize("wrong", [FedAvg, "fedavg", nn.Linear(1, 1), None])
def test_what_is_no_component_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes an object of a component"):
        check_component(wrong)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(AssertionError) as error:
        check_component(Both())
    assert "size=6 is taken" in str(error.value)
    assert "as it was trained, so that it changed nothing" in str(error.value)


def test_all_kinds_of_attacks_are_among_ours() -> None:
    classes = [ATTACKS[name] for name in ATTACKS]
    assert any(issubclass(cls, DataAttack) and cls.changes_images for cls in classes)
    assert any(issubclass(cls, UpdateAttack) for cls in classes)
