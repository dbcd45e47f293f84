from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import ScenarioError
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

TINY = Scenario(
    dataset="synthetic:200", model="mlp", norm="batch", num_clients=4, fraction_train=1.0, rounds=2
)


def starts_of_round_two(strategy: str):
    """(layout, global vector, updates of round 1, each client's model as round 2 begins)."""
    scenario = TINY.but(strategy=strategy, batch_size=50)  # one batch a client
    federation = Federation.prepare(scenario, 0, Path(), torch.device("cpu"))
    engine = SequentialEngine(federation, torch.device("cpu"))
    first = engine.initial_state()
    cohort = engine.train(first, 1, (0, 1, 2, 3))
    updates = cohort.updates.clone()
    ends = first.vector + updates
    state = scenario.parts.strategy.aggregate(first, cohort, engine.layout.num_parameters)
    seen = []
    hook = engine.model.register_forward_pre_hook(
        lambda model, _: seen.append(engine.layout.flatten(model.state_dict())[0])
    )
    engine.train(state, 2, (0, 1, 2, 3))
    hook.remove()
    return engine.layout, state.vector, ends, seen


def test_clients_keep_their_own_batch_norm_layers() -> None:
    layout, server, ends, starts = starts_of_round_two("fedbn")
    own = layout.batch_norm_indices()
    shared = torch.ones(layout.size, dtype=torch.bool)
    shared[own] = False
    assert len(own) == 4 * 64  # scale, shift, mean and variance
    assert len(starts) == 4
    for start, end in zip(starts, ends, strict=True):
        torch.testing.assert_close(start[own], end[own])
        assert not torch.allclose(start[own], server[own])
        assert torch.equal(start[shared], server[shared])


def test_fedavg_clients_start_from_the_global_layers() -> None:
    _, server, _, starts = starts_of_round_two("fedavg")
    assert all(torch.equal(start, server) for start in starts)


def test_first_round_is_fedavg_and_the_second_is_not() -> None:
    one, two = TINY.but(rounds=1), TINY
    assert run(one).model_digest == run(one.but(strategy="fedbn")).model_digest
    assert run(two).model_digest != run(two.but(strategy="fedbn")).model_digest


@pytest.mark.parametrize("norm", ["none", "group"])
def test_refuses_models_without_batch_norm(norm) -> None:
    with pytest.raises(
        ScenarioError, match=f"without BatchNorm layers is FedAvg, got norm='{norm}'"
    ):
        Scenario(strategy="fedbn", norm=norm)
