from __future__ import annotations

import torch

from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

TINY = Scenario(dataset="synthetic:200", model="mlp", num_clients=4, rounds=3)


def test_by_hand(cohort) -> None:
    strategy = Scenario(strategy="fedavgm", server_momentum=0.5, server_lr=2.0).parts.strategy
    memory: dict[str, torch.Tensor] = {}
    sent = cohort([[1.0], [3.0]])
    made = [strategy.step(sent.updates, sent, memory).item() for _ in range(3)]
    assert made == [4.0, 6.0, 7.0]  # v = 2, 3, 3.5


def test_two_runs_share_no_momentum(cohort) -> None:
    strategy = Scenario(strategy="fedavgm").parts.strategy
    sent = cohort([[1.0]])
    assert [strategy.step(sent.updates, sent, {}).item() for _ in range(2)] == [1.0, 1.0]


def test_without_momentum_a_run_is_fedavg_bit_for_bit() -> None:
    plain, zero = run(TINY), run(TINY.but(strategy="fedavgm", server_momentum=0.0))
    assert plain.model_digest == zero.model_digest
    assert plain.accuracy == zero.accuracy
    assert run(TINY.but(strategy="fedavgm")).model_digest != plain.model_digest
