"""The stacked engine against the sequential one: the same clients, streams, batches and labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES, Engine
from fedcore.engine.stacked import StackedEngine
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario

TINY = Scenario(
    dataset="synthetic:131",
    model="mlp",
    norm="none",
    num_clients=5,
    fraction_train=1.0,
    rounds=3,
    local_epochs=(1, 3),
    batch_size=8,
    partition="dirichlet",
    alpha=0.5,
    min_partition_size=2,
    partition_seed=1,
)
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.6, "poison_ratio": 0.5}


def engines(scenario: Scenario, precision: str = "float64", seed: int = 0):
    """(sequential, stacked), with a federation each: redraws are counted in it."""
    return tuple(
        ENGINES[name](
            Federation.prepare(scenario, seed, Path(), torch.device("cpu")),
            Execution(name, "cpu", precision),
        )
        for name in ("sequential", "stacked")
    )


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative to the norm of ``one``."""
    assert one.isfinite().all()
    return float((one - other).norm() / one.norm())


def rounds(engine: Engine, count: int, clients: tuple[int, ...]):
    """State after ``count`` rounds of plain averaging of ``clients``."""
    state = engine.initial_state()
    for round in range(1, count + 1):
        cohort = engine.train(state, round, clients)
        state.vector += cohort.updates.mean(dim=0)
        state.counters = cohort.counters.amax(dim=0) if len(state.counters) else state.counters
    return state, cohort


def check(scenario: Scenario, tolerance: float = 1e-8, seed: int = 0) -> None:
    """Three rounds end at the same vector, moved by the same way, with the same facts."""
    clients = tuple(range(scenario.num_clients))
    pair = engines(scenario, seed=seed)
    (one, cohort), (other, stacked) = (rounds(engine, 3, clients) for engine in pair)
    assert distance(one.vector, other.vector) <= tolerance
    start, parameters = pair[0].initial_state().vector, pair[0].layout.num_parameters
    ways = ((end.vector - start)[:parameters] for end in (one, other))
    assert distance(*ways) <= 100 * tolerance
    assert torch.equal(one.counters, other.counters)
    assert torch.equal(cohort.counters, stacked.counters)
    for fact in ("clients", "samples", "steps", "normalizers"):
        assert getattr(cohort, fact) == getattr(stacked, fact)


SMALL = [("mlp", "none"), ("mlp", "batch"), ("mlp", "group")]
SMALL += [("cnn", "none"), ("cnn", "batch"), ("cnn", "group")]
LARGE = [
    pytest.param(model, norm, marks=pytest.mark.slow)
    for model in ("mobilenet_v2", "mobilenet_v3_small", "resnet18")
    for norm in ("batch", "group")
]


@pytest.mark.parametrize(("model", "norm"), SMALL)
def test_small_models(model: str, norm: str) -> None:
    check(TINY.but(model=model, norm=norm))


@pytest.mark.parametrize(("model", "norm"), LARGE)
def test_large_models(model: str, norm: str) -> None:
    """Clients of 11 and 12 samples in one batch each, as maps of a single pixel leave few values.

    A small step: MobileNetV2 amplifies rounding there. The sequential engine, started from
    weights that differ in the last bit, moves away from itself as far as the stacked one does.
    """
    changes = {"dataset": "synthetic:23", "num_clients": 2, "batch_size": 16}
    changes["local_epochs"] = (1, 2)
    check(TINY.but(model=model, norm=norm, partition="iid", grayscale=True, lr=1e-5, **changes))


@pytest.mark.parametrize(("model", "norm"), SMALL)
def test_one_step_in_float32(model: str, norm: str) -> None:
    scenario = TINY.but(model=model, norm=norm, batch_size=200, local_epochs=1)
    one, other = engines(scenario, "float32")
    first, second = (e.train(e.initial_state(), 1, (0, 1, 2, 3, 4)) for e in (one, other))
    assert set(first.steps) == {1}
    assert distance(first.updates, second.updates) < 1e-4


WHOLE_MAPS = TINY.but(
    dataset="synthetic:64", num_clients=2, partition="iid", grayscale=True, image_size=32, lr=0.01,
    batch_size=32,
)  # fmt: skip


@pytest.mark.parametrize(("model", "norm"), LARGE)
def test_large_models_on_whole_maps(model: str, norm: str) -> None:
    """Full batches of 32 pixels at a usual rate."""
    check(WHOLE_MAPS.but(model=model, norm=norm, local_epochs=1))


@pytest.mark.parametrize(("model", "norm"), LARGE)
def test_one_step_of_large_models_in_float32(model: str, norm: str) -> None:
    """The vector within 1e-4, and the update of most clients.

    Where an activation lies within rounding of a kink of ReLU6, one engine takes its gradient and
    the other does not: in float32 the sequential engine's own is then 1e-3 away from float64's.
    """
    scenario = WHOLE_MAPS.but(model=model, norm=norm, local_epochs=1)
    updates = []
    for seed in range(2):
        pair = engines(scenario, "float32", seed)
        start = pair[0].initial_state().vector
        cohorts = (e.train(e.initial_state(), 1, (0, 1)).updates for e in pair)
        for one, other in zip(*cohorts, strict=True):
            assert distance(start + one, start + other) <= 1e-4
            updates.append(distance(one, other))
    assert sorted(updates)[1] <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "weight_decay": 0.01},
        {"optimizer": "momentum", "nesterov": True},
        {"optimizer": "momentum", "dampening": 0.5},
        {"optimizer": "proximal", "mu": 0.5, "momentum": 0.9, "weight_decay": 0.01},
        {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.01},
        {"batch_size": 200},
        {"batch_size": 1, "local_epochs": 1},
        {"attack": "labelflip", "malicious_fraction": 0.6, "poison_ratio": 0.5},
        {**ATTACK, "redraw": True},
    ],
    ids=str,
)
def test_solvers_and_attacks(changes: dict[str, object]) -> None:
    check(TINY.but(**changes))


@given(
    seed=st.integers(0, 99),
    samples=st.integers(40, 120),
    clients=st.integers(1, 5),
    epochs=st.sampled_from([1, 2, (1, 3), (2, 4)]),
    batch=st.integers(2, 17),
    solver=st.sampled_from(["sgd", "momentum", "adam"]),
    model=st.sampled_from(SMALL[:5]),
)
@settings(max_examples=20)
def test_any_shape_of_work(seed, samples, clients, epochs, batch, solver, model) -> None:
    """Within 1e-8, or ten times as far as the sequential engine moves from a start 1e-15 away.

    Batch norm makes +-1 of two samples, however close they lie: what tells them apart may be next
    to rounding. The gradient behind it is next to nothing, and Adam divides by as little.
    """
    scenario = TINY.but(
        dataset=f"synthetic:{samples}",
        num_clients=clients,
        local_epochs=epochs,
        batch_size=batch,
        optimizer=solver,
        lr=0.01,
        model=model[0],
        norm=model[1],
    )
    check(scenario, max(1e-8, 10 * rounding(scenario, seed) if model[1] == "batch" else 0), seed)


def rounding(scenario: Scenario, seed: int) -> float:
    """How far rounding of the start takes the sequential engine in three rounds: the worse of 2."""
    clients, ends = tuple(range(scenario.num_clients)), []
    for kick in range(3):
        engine = engines(scenario, seed=seed)[0]
        state = engine.initial_state()
        generator = torch.Generator().manual_seed(kick)
        signs = torch.randint(-1, 2, state.vector.shape, generator=generator).double()
        state.vector *= 1 + (1e-15 if kick else 0) * signs
        engine.initial_state = lambda state=state: state
        ends.append(rounds(engine, 3, clients)[0].vector)
    return max(distance(ends[0], end) for end in ends[1:])


def test_fedbn_keeps_each_clients_layers() -> None:
    """Round 2 of a client that trained in round 1 starts from its own BatchNorm layers."""
    scenario = TINY.but(strategy="fedbn", norm="batch", partition="iid")
    one, other = engines(scenario)
    ends = []
    for engine in (one, other):
        state = engine.initial_state()
        engine.train(state, 1, (0, 2))
        ends.append(engine.train(state, 2, (0, 1, 2)).updates)
    assert distance(*ends) < 1e-9
    fresh = engines(scenario)[1]
    without = fresh.train(fresh.initial_state(), 2, (0, 1, 2)).updates
    assert distance(ends[1][1], without[1]) == 0
    assert distance(ends[1][0], without[0]) > 1e-3


def test_every_client_draws_its_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with dropout of which every mask counts."""
    from torch import nn

    from fedcore.models import cnn

    original = cnn.Cnn.build

    def with_dropout(cls, **how):
        return nn.Sequential(nn.Dropout(0.4), *original(cls, **how), nn.Dropout(0.1))

    monkeypatch.setattr(cnn.Cnn, "build", with_dropout)
    check(TINY.but(model="cnn", norm="batch"))


def test_a_finished_client_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a bit of its weights, statistics or counters changes while others go on."""
    scenario = TINY.but(norm="batch", local_epochs=(1, 3))
    engine = engines(scenario, "float32")[1]
    assert isinstance(engine, StackedEngine)
    trainer = engine.bench.trainer
    seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    step = trainer._solver.step

    def spy(weights: torch.Tensor, gradient: torch.Tensor) -> None:
        step(weights, gradient)
        seen.append((len(weights), trainer._vectors.clone(), trainer._counters.clone()))

    monkeypatch.setattr(trainer._solver, "step", spy)
    engine.train(engine.initial_state(), 1, (0, 1, 2, 3, 4))
    active = [count for count, _, _ in seen]
    assert active == sorted(active, reverse=True)
    assert len(set(active)) > 2
    final = seen[-1]
    for row in range(1, 5):
        last = max(i for i, count in enumerate(active) if count > row)
        assert torch.equal(seen[last][1][row], final[1][row])
        assert torch.equal(seen[last][2][row], final[2][row])


def test_the_state_is_only_read() -> None:
    engine = engines(TINY)[1]
    state = engine.initial_state()
    before = state.vector.clone()
    engine.train(state, 1, (0, 1))
    engine.evaluate(state)
    assert torch.equal(state.vector, before)


def test_evaluates_like_the_sequential_engine() -> None:
    one, other = engines(TINY.but(norm="batch"), "float32")
    state = rounds(one, 2, (0, 1, 2))[0]
    assert one.evaluate(state) == other.evaluate(state)
