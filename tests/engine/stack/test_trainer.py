"""Blocks of clients, memory that runs out, and the order of work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedcore.engine.execution import Execution
from fedcore.engine.stack import memory
from fedcore.engine.stack.pool import Pool
from fedcore.engine.stack.schedule import Schedule, steps_of
from fedcore.engine.stacked import Bench, StackedEngine
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from tests.engine.stack.stacks import RAGGED

CPU = torch.device("cpu")
CLIENTS = (0, 1, 2, 3, 4)


def engine_of(scenario: Scenario = RAGGED, budget: int | None = None) -> StackedEngine:
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    return StackedEngine(
        federation, Bench(federation, Execution("stacked", "cpu", "float64"), budget)
    )


def test_schedule_of_ragged_clients() -> None:
    engine = engine_of()
    tasks = engine.work(engine.initial_state(), 1, CLIENTS).tasks
    schedule = Schedule.of(tasks, CPU, Pool([engine.federation], CPU))
    federation = engine.federation
    assert sorted(schedule.order) == list(CLIENTS)
    assert list(schedule.steps) == sorted(schedule.steps, reverse=True)
    for row, place in enumerate(schedule.order):
        part, epochs = federation.parts[place], int(federation.epochs[place])
        steps = schedule.steps[row]
        assert steps == steps_of(tasks[place])
        sizes = schedule.sizes[:, row]
        assert (sizes[:steps] > 0).all()
        assert (sizes[steps:] == 0).all()
        assert sizes.sum() == epochs * len(part)
        drawn = torch.cat([schedule.samples[t, row, : sizes[t]] for t in range(steps)]).numpy()
        for epoch in range(epochs):  # every sample once an epoch
            own = drawn[epoch * len(part) : (epoch + 1) * len(part)]
            assert sorted(own) == sorted(part)
        for t in range(steps):
            batch = schedule.samples[t, row]
            assert set(batch.tolist()) == set(batch[: sizes[t]].tolist()), "padding is the batch's"


def test_blocks_do_not_change_training() -> None:
    whole = engine_of()
    together = whole.train(whole.initial_state(), 1, CLIENTS)
    blocks = engine_of()
    blocks.bench.trainer.limit = 2
    apart = blocks.train(blocks.initial_state(), 1, CLIENTS)
    assert apart.steps == together.steps
    torch.testing.assert_close(apart.updates, together.updates, rtol=1e-10, atol=1e-12)
    assert torch.equal(apart.counters, together.counters)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, engine: StackedEngine, most: int) -> list[int]:
    """More than ``most`` clients run out of memory half way; the sizes that were tried."""
    trainer, tried = engine.bench.trainer, []
    work = trainer._work

    def limited(rows, schedule, pool) -> None:
        tried.append(len(rows))
        if len(rows) > most:
            trainer._vectors.fill_(float("nan"))
            raise torch.OutOfMemoryError("simulated")
        work(rows, schedule, pool)

    monkeypatch.setattr(trainer, "_work", limited)
    return tried


def test_memory_that_runs_out_halves_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    plenty, short = engine_of(), engine_of()
    expected = plenty.train(plenty.initial_state(), 1, CLIENTS)
    tried = short_of_memory(monkeypatch, short, most=2)
    cohort = short.train(short.initial_state(), 1, CLIENTS)
    assert tried == [5, 2, 2, 1]
    torch.testing.assert_close(cohort.updates, expected.updates, rtol=1e-10, atol=1e-12)
    assert cohort.steps == expected.steps
    short.train(short.initial_state(), 2, CLIENTS)
    assert tried[4:] == [2, 2, 1], "the smaller limit stays"


def test_one_client_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of()
    tried = short_of_memory(monkeypatch, engine, most=0)
    with pytest.raises(torch.OutOfMemoryError):
        engine.train(engine.initial_state(), 1, CLIENTS)
    assert tried == [5, 2, 1]


def test_the_budget_bounds_the_clients() -> None:
    limits = [engine_of(budget=n * 1_000_000).bench.trainer.limit for n in (0, 4, 8)]
    assert limits[0] == 1
    # 5066 floats and 640 activations (input 64; 64 + 64 + 64 + 64 + 10 and copies), 8 bytes each
    activations = 64 + 64 + 64 + 64 + 64 + 10
    one = 8 * (6 * (4160 + 4 * 64 + 650) + 3 * 9 * activations)
    assert limits[1:] == [4_000_000 // one, 8_000_000 // one]


def test_no_tensor_outgrows_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_LARGEST_TENSOR", 9 * 64 * 3 + 1)
    assert engine_of().bench.trainer.limit == 3


def test_the_default_budget_is_stated() -> None:
    assert memory.default_budget(CPU) == 2 * 2**30
