"""Whole runs on the stacked engine, against the sequential one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.federation.federation import Federation
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.simulation.trial import Trial
from fedcore.strategies.strategy import STRATEGIES
from tests.engine.stack.stacks import RAGGED

RUN = RAGGED.but(rounds=3)


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"flower", "scaffold", "feddyn"}))
def test_whole_runs_of_every_strategy(strategy: str) -> None:
    """All but those whose clients keep tensors, and ``flower``, which stands for others'."""
    defended = {"num_clients": 8, "partition": "iid", "dataset": "synthetic:200"}
    scenario = RUN.but(strategy=strategy, **defended)
    (one, end), (other, stacked) = (completed(scenario, e) for e in ("sequential", "stacked"))
    assert float((end - stacked).norm() / end.norm()) <= 1e-8
    assert other.engine == "stacked-float64"
    assert other.accuracy == one.accuracy
    assert other.loss == pytest.approx(one.loss, rel=1e-9)
    assert other.audit == one.audit
    assert other.recall == one.recall


def completed(scenario: Scenario, engine: str) -> tuple[Record, torch.Tensor]:
    """The record of a run in float64, and the model that it ends with."""
    execution = Execution(engine, "cpu", "float64")
    device = torch.device("cpu")
    federation = Federation.prepare(scenario, 2, Path(), device)
    made = ENGINES[engine](federation, execution)
    trial = Trial(federation, made, execution.label, device, time.perf_counter(), None)
    record = trial.complete()
    return record, trial.state.vector


def test_runs_repeat_bit_for_bit() -> None:
    one, other = (run(RUN, 1, engine="stacked", device="cpu") for _ in range(2))
    assert one.model_digest == other.model_digest


def test_a_model_without_a_rule_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from fedcore.errors import ModelError
    from fedcore.models import mlp

    def build(cls, **_):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softmax(1), nn.Linear(8, 10))

    monkeypatch.setattr(mlp.Mlp, "build", build)
    run(RUN, engine="sequential", device="cpu")
    with pytest.raises(ModelError, match=r"layer '2' \(Softmax\)"):
        run(RUN, engine="stacked", device="cpu")


@pytest.mark.slow
def test_tail_accuracies_agree_over_seeds() -> None:
    """Rounding moves single runs, not the mean: equal within 3 standard errors over 10 seeds."""
    scenario = Scenario(
        dataset="synthetic:1000", model="cnn", num_clients=10, rounds=8, local_epochs=(1, 3)
    )
    drops = []
    for seed in range(10):
        one, other = (
            run(scenario, seed, engine=name, device="cpu").tail_accuracy
            for name in ("sequential", "stacked")
        )
        drops.append(one - other)
    values = torch.tensor(drops, dtype=torch.float64)
    assert abs(float(values.mean())) <= max(3 * float(values.std()) / 10**0.5, 1e-9)
    assert float(values.abs().max()) < 0.03
