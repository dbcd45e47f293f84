from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario
from fedcore.engine.solverlog import SolverLog, directions, watches
from fedcore.optimizers.solvers import SgdSolver

SIZE, STEPS = 5000, 7
SOLVERS: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "momentum"},
    {"optimizer": "momentum", "momentum": 0.5, "dampening": 0.3},
    {"optimizer": "momentum", "nesterov": True, "weight_decay": 0.01},
    {"optimizer": "adam", "weight_decay": 0.1},
    {"optimizer": "proximal", "mu": 2.0, "momentum": 0.9},
]


def torch_path(scenario: Scenario, gradients: torch.Tensor) -> torch.Tensor:
    """Weights [T + 1, n] of torch.optim's own solver on ``gradients`` [T, n], from zero."""
    weights = torch.nn.Parameter(torch.zeros(gradients.shape[1], dtype=torch.float64))
    decay = {"lr": scenario.lr, "weight_decay": scenario.weight_decay}
    if scenario.optimizer == "adam":
        solver: torch.optim.Optimizer = torch.optim.Adam([weights], **decay)
    else:
        solver = torch.optim.SGD(
            [weights],
            momentum=scenario.momentum or 0,
            dampening=scenario.dampening or 0,
            nesterov=bool(scenario.nesterov),
            **decay,
        )
    path = [weights.detach().clone()]
    for gradient in gradients:
        # the proximal term pulls back to where the client began, which is 0
        weights.grad = gradient + (scenario.mu or 0) * weights.detach()
        solver.step()
        path.append(weights.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_directions_are_those_of_torch_optim(solver: dict[str, Any]) -> None:
    scenario = Scenario(lr=0.03, **solver)
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(STEPS, 20, dtype=torch.float64, generator=generator)
    path = torch_path(scenario, gradients).numpy()
    moves = directions(scenario, gradients.numpy().copy(), path[:-1], np.zeros(20))
    np.testing.assert_allclose(path[1:] - path[:-1], -0.03 * moves, rtol=1e-9, atol=1e-14)


def trained(scenario: Scenario, factor: float = 1.0, clients: int | None = None) -> SolverLog:
    """A log of ``STEPS`` steps of the scenario's solver with ``factor`` times its rate."""
    log = SolverLog(scenario)
    solver = scenario.parts.optimizer.solver(scenario)
    solver.lr *= factor
    watched = log.watched(solver)
    shape = (SIZE,) if clients is None else (clients, SIZE)
    generator = torch.Generator().manual_seed(2)
    weights = 0.1 * torch.randn(shape, generator=generator)
    watched.start(weights.clone())
    for _ in range(STEPS):
        watched.step(weights, torch.randn(shape, generator=generator))
    return log


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.95])
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_the_realised_rate_is_found(solver: dict[str, Any], factor: float) -> None:
    log = trained(Scenario(lr=0.01, **solver), factor)
    rate, blur, misfit = log.fit()
    assert log.steps == STEPS
    assert rate == pytest.approx(0.01 * factor, rel=1e-3)
    assert blur < 1e-3 * rate
    assert misfit < 1e-4
    (first, second) = trained(Scenario(lr=0.01, **solver), factor, clients=2).fits([STEPS, 3])
    assert first[0] == pytest.approx(0.01 * factor, rel=1e-3)
    assert second[0] == pytest.approx(0.01 * factor, rel=1e-3)


def test_another_solver_does_not_fit() -> None:
    log = trained(Scenario(optimizer="sgd", lr=0.01))
    log.scenario = Scenario(optimizer="momentum", lr=0.01)
    assert log.fit()[2] > 0.1


def test_what_moves_less_than_rounding_has_no_rate() -> None:
    scenario = Scenario(optimizer="sgd", lr=1e-9)
    rate, blur, _ = trained(scenario).fit()
    assert blur > 0.05 * abs(rate)


def test_a_quarter_of_all_participations_is_watched_and_all_of_round_1() -> None:
    assert all(watches(1, client) for client in range(100))
    drawn = np.array([[watches(r, c) for c in range(40)] for r in range(2, 42)])
    assert 0.2 < drawn.mean() < 0.3
    # of every client, of every second round, and of odd rounds alone there are enough
    assert drawn.any(axis=1).all()
    assert drawn.any(axis=0).all()


def test_unwatched_steps_are_counted() -> None:
    log = SolverLog(Scenario(optimizer="sgd"))
    log.watching = False
    watched = log.watched(SgdSolver(log.scenario))
    weights = torch.zeros(3)
    watched.start(weights)
    watched.step(weights, torch.ones(3))
    assert log.steps == 1
    assert np.isnan(log.fit()[0])
