"""Bugs planted in what pairs, arms and seeds share: each ends its cell, by its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.engine import sequential
from fedcore.engine.sequential import SequentialEngine
from fedcore.engine.stack import schedule
from fedcore.errors import IdentityError
from fedcore.federation import federation, malicious, threat
from fedcore.harness.proofs.arms import Proofs
from fedcore.harness.statistics.estimates import CellVerdict
from fedcore.optimizers.solvers import SgdSolver, Solver
from fedcore.simulation import runner as simulation
from fedcore.streams import Purpose
from tests.harness.proofs.planted import ATTACKED, Patch, judged, wrapped


def twin_is(patch: Patch, module: Any, name: str, other: Callable[..., Any]) -> None:
    """``module.name``, whose first argument has a scenario, does ``other`` where it is clean."""

    def around(original: Any, scenario: Scenario, *rest: Any, **more: Any) -> Any:
        call = other if scenario.attack is None else original
        return call(*((original,) if call is other else ()), scenario, *rest, **more)

    wrapped(patch, module, name, around)


def other_partition(patch: Patch) -> None:
    def other(original: Any, scenario: Any, labels: Any, classes: int, seed: int) -> Any:
        return original(scenario, labels, classes, seed + 1)

    twin_is(patch, federation, "partition", other)


def other_weights(patch: Patch) -> None:
    def other(original: Any, scenario: Any, *, seed: int, **more: Any) -> Any:
        return original(scenario, seed=seed + 1, **more)

    twin_is(patch, federation, "build_model", other)


def other_order(patch: Patch) -> None:
    def around(original: Any, self: SequentialEngine, state: Any, round: int, client: int) -> None:
        drawn = sequential.stream

        def stream(seed: int, purpose: Purpose, **of: Any) -> Any:
            clean = self.federation.scenario.attack is None
            return drawn(seed + (clean and purpose is Purpose.BATCH_ORDER), purpose, **of)

        with Patch.context() as inner:
            inner.setattr(sequential, "stream", stream)
            original(self, state, round, client)

    wrapped(patch, SequentialEngine, "_work", around)


def double_rate(patch: Patch) -> None:
    def around(original: Any, self: Solver, scenario: Scenario) -> None:
        original(self, scenario)
        if scenario.attack is None:
            self.lr *= 2

    wrapped(patch, Solver, "__init__", around)


def double_step(patch: Patch) -> None:
    def around(original: Any, self: SgdSolver, weights: Any, gradient: Any) -> None:
        original(self, weights, gradient)
        if self.scenario.attack is None:
            original(self, weights, gradient)

    wrapped(patch, SgdSolver, "_apply", around)


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
@pytest.mark.parametrize(
    ("plant", "message", "pair"),
    [
        (other_partition, "images of another partition than that of its seed", "partition"),
        (other_weights, "began from another initial model", "initial model"),
        (other_order, "in another batch order than that of its seed", "batch order"),
        (double_rate, "has a realised learning rate of 0.1, lr=0.05", "realised learning rate"),
        (double_step, "has a realised learning rate of 0.1, lr=0.05", "realised learning rate"),
    ],
)
def test_a_twin_that_is_no_twin(
    monkeypatch: Patch, plant: Callable[[Patch], None], message: str, pair: str, engine: str
) -> None:
    if plant is other_order and engine == "stacked":
        drawn = schedule.stream
        monkeypatch.setattr(schedule, "_batches", _batches_by(lambda f: drawn, monkeypatch))
    plant(monkeypatch)
    outcome = judged(ATTACKED.but(strategy="fedavg"), engine=engine)
    assert outcome.verdict is CellVerdict.ERROR
    assert any(message in error for error in outcome.errors)
    assert any(f"no pair: they differ in {pair}" in error for error in outcome.errors)


def _batches_by(of: Any, patch: Patch) -> Any:
    original, drawn = schedule._batches, schedule.stream

    def batches(task: Any) -> Any:
        clean = task.federation.scenario.attack is None

        def stream(seed: int, purpose: Purpose, **more: Any) -> Any:
            return drawn(seed + clean, purpose, **more)

        patch.setattr(schedule, "stream", stream)
        return list(original(task))

    return batches


@pytest.mark.parametrize(
    ("other", "named"),
    [({"strategy": "median"}, "strategy='median'"), ({"weight_decay": 0.01}, "weight_decay=0.01")],
)
def test_a_twin_of_another_scenario(monkeypatch: Patch, other: dict[str, Any], named: str) -> None:
    """In the derivation of the twin itself, by which cells, runs and judges all go."""

    def twin(self: Scenario) -> Scenario:
        return self if self.attack is None else self.but(attack=None, **other)

    monkeypatch.setattr(Scenario, "clean_twin", twin)
    errors = "; ".join(judged(ATTACKED.but(strategy="fedavg")).errors)
    assert f"no pair: the twin has {named}" in errors


def test_a_run_that_changes_its_scenario(monkeypatch: Patch) -> None:
    def around(original: Any, scenario: Scenario, seed: int, **how: Any) -> Any:
        return original(scenario.but(lr=0.1) if scenario.attack is None else scenario, seed, **how)

    wrapped(monkeypatch, simulation, "run", around)
    assert "was made as another scenario: lr=0.1 instead of 0.05" in judged().errors[0]


def test_a_run_that_hides_that_it_changes_its_scenario(monkeypatch: Patch) -> None:
    def around(original: Any, scenario: Scenario, seed: int, **how: Any) -> Any:
        made = original(scenario.but(lr=0.1) if scenario.attack is None else scenario, seed, **how)
        return dataclasses.replace(made, scenario=scenario)

    wrapped(monkeypatch, simulation, "run", around)
    assert "has a realised learning rate of 0.1, lr=0.05 was asked for" in judged().errors[0]


@pytest.mark.parametrize("hidden", [False, True])
def test_every_seed_is_seed_0(monkeypatch: Patch, hidden: bool) -> None:
    def around(original: Any, scenario: Scenario, seed: int, **how: Any) -> Any:
        made = original(scenario, 0, **how)
        return dataclasses.replace(made, seed=seed) if hidden else made

    wrapped(monkeypatch, simulation, "run", around)
    errors = judged(seeds=(0, 1)).errors
    assert errors
    assert all("seed 0" not in error.partition(" seed 1")[0] for error in errors)
    expected = "has malicious clients" if hidden else "was made with seed 0"
    assert any(expected in error for error in errors)


def of_fednova(patch: Patch, module: Any, name: str) -> None:
    """``module.name`` (scenario, ..., seed) draws from another seed where the arm is FedNova."""

    def around(original: Any, scenario: Scenario, *rest: Any) -> Any:
        other = scenario.strategy == "fednova"
        return original(scenario, *(r + other if isinstance(r, int) else r for r in rest))

    wrapped(patch, module, name, around)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(federation, "partition")], "another partition"),
        ([(malicious, "in_order"), (threat, "in_order")], "has malicious clients"),
    ],
)
def test_arms_on_other_partitions_or_malicious_sets(
    monkeypatch: Patch, places: Any, message: str
) -> None:
    for module, name in places:
        of_fednova(monkeypatch, module, name)
    proofs = Proofs()
    assert judged(ATTACKED.but(strategy="fedavg"), proofs=proofs).errors == ()
    errors = judged(ATTACKED, proofs=proofs).errors
    assert errors
    assert all("fednova" in error for error in errors)
    assert any(message in error for error in errors)


def test_arms_are_compared_without_what_the_seed_asks_for(monkeypatch: Patch) -> None:
    """The registry alone: two records that agree with nothing but their own scenario."""
    monkeypatch.setattr("fedcore.harness.proofs.arms.training_problems", lambda *_: [])
    proofs = Proofs()
    of_fednova(monkeypatch, federation, "partition")
    first, second = (
        run(ATTACKED.but(strategy=strategy), device="cpu") for strategy in ("fedavg", "fednova")
    )
    assert proofs.problems(first) == []
    (error,) = proofs.problems(second)
    assert "are arms of one seed, and differ in the images that clients trained on" in error


def test_local_work_that_is_cut_short(monkeypatch: Patch) -> None:
    def around(original: Any, self: Any, samples: Any, bounds: Any) -> Any:
        yield from list(original(self, samples, bounds))[:-1]

    wrapped(monkeypatch, SequentialEngine, "_batches", around)
    error = judged().errors[0]
    assert re.search(r"did other local work than asked for: client 0 3 steps on 96 images", error)


def test_a_solver_that_is_another(monkeypatch: Patch) -> None:
    def around(original: Any, self: SgdSolver, weights: Any, gradient: Any) -> None:
        gradient.copy_(torch.rand_like(gradient) * gradient.abs().mean())
        original(self, weights, gradient)

    wrapped(monkeypatch, SgdSolver, "_apply", around)
    assert "realised learning rate" in judged(ATTACKED.but(strategy="fedavg")).errors[0]


@pytest.mark.parametrize("plant", [double_rate, double_step])
def test_fednova_with_twice_the_rate_is_named_by_the_rate(
    monkeypatch: Patch, plant: Callable[[Patch], None]
) -> None:
    """Its normalizers do not fit such steps either, which is not the cause."""
    plant(monkeypatch)
    with pytest.raises(IdentityError, match=r"run has a realised learning rate of 0\.1, lr=0\.05"):
        judged()


def test_streams_that_forget_the_seed(monkeypatch: Patch) -> None:
    """In the derivation itself, which every draw of a run shares."""
    from fedcore import streams

    original = streams._entropy
    monkeypatch.setattr(streams, "_entropy", lambda seed, *rest: original(0, *rest))
    errors = judged(seeds=(0, 1)).errors
    assert errors
    assert all(" seed 1 " in error for error in errors)
