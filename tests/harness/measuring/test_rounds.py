from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.engine import parallel
from fedcore.engine.execution import Execution
from fedcore.errors import DataError, FedcoreError
from fedcore.exchange.layout import digest
from fedcore.harness.measuring import rounds as timing
from fedcore.harness.measuring.rounds import GridTimer, RoundTimer, clock
from fedcore.harness.runs import job as worker

TINY = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=0.5, rounds=3, eval_every=3
)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(rounds, seed) of each run, in order."""
    found: list[tuple[int, int]] = []
    simulate = worker.simulate

    def note(scenario: Scenario, seed: int, **settings: Any) -> Any:
        found.append((scenario.rounds, seed))
        return simulate(scenario, seed, **settings)

    monkeypatch.setattr(worker, "simulate", note)
    return found


def test_seconds_are_per_round_over_fresh_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[tuple[int, int]]
) -> None:
    timer = GridTimer(TINY, 2, str(tmp_path), workers=1)
    assert made == [(1, 0)]  # a short run warms the worker up
    ticks = itertools.count(0, 6)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(timing, "time", clock)
    assert timer.seconds_per_round() == 6 / (2 * 3)
    assert timer.seconds_per_round() == 6 / (2 * 3)
    assert made[1:] == [(3, 1), (3, 2), (3, 3), (3, 4)]
    # 2 of 4 clients with 100 samples each, 1 epoch
    assert timer.examples_per_round == 200
    assert list(tmp_path.iterdir()) == []  # nothing is stored
    timer.close()


def test_a_grid_of_stacked_runs_is_made_in_lockstep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[tuple[int, int]]
) -> None:
    together: list[int] = []
    execute = worker.lockstep

    def note(runs: Any, *settings: Any) -> Any:
        together.append(len(runs))
        return execute(runs, *settings)

    monkeypatch.setattr(worker, "lockstep", note)
    timer = GridTimer(TINY, 3, str(tmp_path), 1, Execution("stacked", "cpu"))
    assert timer.seconds_per_round() > 0
    assert together == [3, 3]  # the first is for warmth
    assert made == []  # none alone
    assert timer.examples_per_round == 200
    timer.close()


def test_the_clock_waits_for_a_gpu_only_where_one_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[None] = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: waited.append(None))
    assert clock(torch.device("cpu"))() <= clock(torch.device("cpu"))()
    assert waited == []
    assert clock(torch.device("cuda"))() > 0
    assert len(waited) == 1


def test_a_failed_run_is_no_timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = GridTimer(TINY, 1, str(tmp_path), workers=1)

    def broken(*_: Any, **__: Any) -> Any:
        raise DataError("gone: put it back")

    monkeypatch.setattr(worker, "simulate", broken)
    with pytest.raises(FedcoreError, match="seed 1: DataError: gone: put it back"):
        timer.seconds_per_round()


def test_missing_data_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz"):
        GridTimer(TINY.but(dataset="npz:absent.npz"), 1, str(tmp_path), workers=1)


def test_rounds_of_one_run_go_on_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = RoundTimer(TINY, None, Execution("sequential", "cpu"))
    ticks = itertools.count(0, 6)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert timer.seconds_per_round(2) == 6 / 2
    assert timer.examples_per_round == 200
    timer.close()
    # the warm-up round and two timed ones: the model of a run of three rounds
    digest_of_run = run(TINY, 0, device="cpu").model_digest
    assert digest(timer._state.vector, timer._state.counters) == digest_of_run


def test_a_refused_execution_leaves_torch_its_threads(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "can_fork", lambda: False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(FedcoreError, match="fork"):
            RoundTimer(TINY, None, Execution("sequential", "cpu", processes=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
