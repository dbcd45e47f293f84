"""Runs under attack in lockstep: each with its own copies of images, whatever goes together."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import Square
from fedcore.attacks.updates.scaled import Scaled
from fedcore.engine.execution import Execution
from fedcore.engine.stack.pool import Pool, distinct
from fedcore.engine.stacked import StackedEngine
from fedcore.federation.federation import Federation
from fedcore.harness.proofs.judge import training_problems
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run
from tests.attacks.examples import Overtrain

CLEAN = Scenario(dataset="synthetic:300", model="mlp", num_clients=6, fraction_train=1.0, rounds=3)
DOOR = Backdoor(target=1, poison_ratio=0.6)


def attacked(attack: Any, **changes: Any) -> Scenario:
    return CLEAN.but(attack=attack, malicious_fraction=0.5, **changes)


RUNS = [
    (attacked(DOOR), 0),
    (attacked(DOOR).clean_twin(), 0),
    (attacked(Backdoor(target=2, trigger=Square(size=2), poison_ratio=1.0)), 1),
    (attacked("labelflip", poison_ratio=0.5), 0),
    (attacked(Scaled(of=DOOR, gamma=3.0), rounds=2), 2),
    (attacked(Overtrain()), 1),
    (CLEAN, 3),
]


@pytest.mark.parametrize("budget", [None, 1], ids=["together", "one client at a time"])
def test_runs_in_lockstep_are_what_they_are_alone(budget: int | None) -> None:
    together = run_lockstep(RUNS, device="cpu", precision="float64", memory_budget=budget)
    for (scenario, seed), record in zip(RUNS, together, strict=True):
        alone = run(scenario, seed, device="cpu", precision="float64", engine="sequential")
        assert (record.accuracy, record.asr) == (alone.accuracy, alone.asr)
        assert record.audit.poison == alone.audit.poison
        assert record.audit.training == alone.audit.training
        assert training_problems(record) == []
        for one, other in zip(record.loss, alone.loss, strict=True):
            assert math.isclose(one or 0, other or 0, rel_tol=1e-9)


def federation(scenario: Scenario, seed: int = 0) -> Federation:
    return Federation.prepare(scenario, seed, None, torch.device("cpu"))


def test_a_pool_has_the_clean_images_once_and_every_runs_copies() -> None:
    one, clean, other = federation(attacked(DOOR)), federation(CLEAN), federation(attacked(DOOR), 1)
    pool = Pool([one, clean, other], torch.device("cpu"))
    count = len(clean.train_images)
    assert one.copies is not None
    assert other.copies is not None
    assert len(pool.images) == count + len(one.copies) + len(other.copies)
    for run_of in (one, clean, other):
        for client in range(6):
            samples = run_of.threat.samples_of(client, 1)
            places = torch.from_numpy(pool.places(run_of, samples))
            assert torch.equal(pool.images[places], run_of.pool[torch.from_numpy(samples)])
    assert pool.holds([clean, one, other])
    assert not pool.holds([one])
    assert not pool.holds([other, one])
    assert distinct([one, clean, one]) == [one, clean]


def test_without_copies_the_pool_is_the_federations_own_images() -> None:
    plain = federation(attacked("labelflip", poison_ratio=0.5))
    assert Pool([plain], torch.device("cpu")).images is plain.train_images
    assert plain.pool is plain.train_images


def test_the_pool_of_a_run_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    init = Pool.__init__

    def counted(self: Pool, *rest: Any) -> None:
        made.append(1)
        init(self, *rest)

    monkeypatch.setattr(Pool, "__init__", counted)
    assert Execution("stacked", "cpu").stacks
    run(attacked(DOOR), device="cpu", engine="stacked")
    assert len(made) == 1
    assert StackedEngine is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 13},
        {"grayscale": True, "normalize": "imagenet"},
        {"model": "cnn", "norm": "batch", "strategy": "fedbn"},
        {"privacy": "dpsgd", "noise_multiplier": 0.5, "clip_norm": 1.0},
    ],
    ids=str,
)
def test_copies_pass_the_transform_that_images_pass(changes: dict[str, Any]) -> None:
    scenario = attacked(DOOR, **changes)
    record = run(scenario, device="cpu")
    assert training_problems(record) == []
    assert record.audit.training is not None
    assert record.audit.training.copies
    assert record.audit.training.probed is not None
