"""Steps that are recorded and replayed: on a CPU a tape of operators stands in for a CUDA graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fedcore.engine import stacked
from fedcore.engine.execution import Execution
from fedcore.engine.stack import step
from fedcore.engine.stacked import StackedEngine
from fedcore.errors import FedcoreError
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from tests.engine.stack.stacks import RAGGED

CONVOLVED = RAGGED.but(dataset="synthetic:131", model="cnn", optimizer="momentum")
CLIENTS = (0, 1, 2, 3, 4)


class Tape(TorchDispatchMode):
    """Notes each operator; repeats them with the same numbers, from and to the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        made = operator(*args, **(kwargs or {}))
        self.calls.append((operator, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        with torch.no_grad():
            for operator, args, kwargs, made in self.calls:
                again = operator(*args, **kwargs)
                pairs = zip(_tensors(made), _tensors(again), strict=True)
                for place, value in pairs:
                    if place.data_ptr() != value.data_ptr():
                        place.copy_(value)


def _tensors(made: object) -> list[torch.Tensor]:
    values = made if isinstance(made, (tuple, list)) else [made]
    return [value for value in values if isinstance(value, torch.Tensor)]


class Tapes:
    """A `Recorder` that counts. As in a CUDA graph, what it records changes nothing by itself."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0
        self.kept: tuple[torch.Tensor, ...] = ()

    def __call__(self, action):
        before = [tensor.clone() for tensor in self.kept]
        with Tape() as tape:
            action()
        for tensor, value in zip(self.kept, before, strict=True):
            tensor.copy_(value)
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay


def engine_of(scenario: Scenario, tapes: Tapes | None = None) -> StackedEngine:
    federation = Federation.prepare(scenario, 0, Path(), torch.device("cpu"))
    bench = stacked.Bench(federation, Execution("stacked", "cpu", "float64"))
    trainer = bench.trainer
    if tapes is not None:
        trainer._steps._record = tapes
        allocate = trainer._allocate

        def watched(clients: int) -> None:
            allocate(clients)
            tapes.kept = trainer._vectors, trainer._counters

        trainer._allocate = watched
    return StackedEngine(federation, bench)


def rounds(engine: StackedEngine, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The global model and counters after ``count`` rounds of plain averaging."""
    state = engine.initial_state()
    for round in range(1, count + 1):
        cohort = engine.train(state, round, CLIENTS)
        state.vector += cohort.updates.mean(dim=0)
        if len(state.counters):
            state.counters = cohort.counters.amax(dim=0)
    return state.vector, state.counters


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partition": "iid", "local_epochs": 2},
        {"optimizer": "adam", "lr": 0.01},
        {"optimizer": "proximal", "mu": 0.5},
        {"norm": "group", "attack": "labelflip", "malicious_fraction": 0.6, "poison_ratio": 0.5},
    ],
    ids=str,
)
def test_replayed_steps_are_the_steps_themselves(changes: dict[str, object]) -> None:
    scenario, tapes = CONVOLVED.but(**changes), Tapes()
    expected = rounds(engine_of(scenario), 4)
    found = rounds(engine_of(scenario, tapes), 4)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert tapes.replayed > tapes.recorded > 0


def test_replayed_steps_draw_their_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedcore.models import cnn

    original = cnn.Cnn.build

    def with_dropout(cls, **how):
        return nn.Sequential(nn.Dropout(0.4), *original(cls, **how), nn.Dropout(0.1))

    monkeypatch.setattr(cnn.Cnn, "build", with_dropout)
    tapes = Tapes()
    expected, found = rounds(engine_of(CONVOLVED), 3), rounds(engine_of(CONVOLVED, tapes), 3)
    assert torch.equal(found[0], expected[0])
    assert tapes.replayed > 0


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = Tapes(), Tapes()
    expected = rounds(engine_of(CONVOLVED, many), 3)
    monkeypatch.setattr(step, "MOST_GRAPHS", 1)
    engine = engine_of(CONVOLVED, few)
    found = rounds(engine, 3)
    assert torch.equal(found[0], expected[0])
    assert few.recorded > many.recorded
    assert len(engine.bench.trainer._steps._recorded) == 1


def test_other_memory_is_recorded_anew() -> None:
    """What is recorded reads the weights where they lay."""
    tapes = Tapes()
    engine, plain = engine_of(CONVOLVED, tapes), engine_of(CONVOLVED)
    for some in ((0, 1), (0, 1), CLIENTS, CLIENTS):
        cohorts = [one.train(one.initial_state(), 1, some) for one in (engine, plain)]
        assert torch.equal(cohorts[0].updates, cohorts[1].updates)


def test_a_step_that_cannot_be_recorded_says_so() -> None:
    def refuses(action):
        raise RuntimeError("operation not permitted when stream is capturing")

    engine = engine_of(CONVOLVED, refuses)
    with pytest.raises(FedcoreError, match=r"cannot be recorded .*use engine='stacked'"):
        rounds(engine, 2)


def test_graphs_are_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FedcoreError, match="needs a CUDA device: use 'stacked'"):
        Execution("stacked-graphs", "cpu")
    with pytest.raises(FedcoreError, match="lockstep need engine 'stacked'"):
        run_lockstep([(CONVOLVED, 0)], engine="sequential", device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    execution = Execution("stacked-graphs", "cuda")
    assert execution.stacks
    assert execution.records_steps
    assert execution.label == "stacked-graphs"
    assert not Execution(device="cuda").records_steps
