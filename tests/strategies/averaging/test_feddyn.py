"""FedDyn: by hand, on problems whose minimum is known, and where its proofs look."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.errors import FedcoreError, IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.harness.proofs.judge import training_problems
from fedcore.strategies.averaging.feddyn import DRIFT, WAY, DynamicRegulariser, FedDyn
from tests.strategies.averaging.quadratics import Quadratics

SGD = Scenario(strategy="feddyn", optimizer="sgd", lr=0.02, alpha_dyn=0.5)
SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=0.5, rounds=4,
    partition="dirichlet", alpha=0.3, min_partition_size=2, optimizer="momentum",
    strategy="feddyn", local_epochs=(1, 2),
)  # fmt: skip


def test_steps_by_hand(cohort: Any) -> None:
    """alpha h+ / alpha: -h/alpha = (2 + 4)/3 of 3 clients; x moves by the mean and by that."""
    memory = Memory()
    memory.population = 3
    sent = cohort([[2.0], [4.0]], samples=(90, 10))
    assert FedDyn().step(sent.updates, sent, memory).tolist() == [3.0 + 2.0]
    assert memory[DRIFT].tolist() == [2.0]
    back = cohort([[-3.0], [0.0]])
    assert FedDyn().step(back.updates, back, memory).tolist() == [-1.5 + 1.0]


def test_the_gradient_by_hand() -> None:
    """alpha 0.5 and h_0 = -alpha u = 1: at w = 2, x = 3 the gradient gains 0.5 (2 - 3) - 1."""
    task = Quadratics(SGD, steps=(1, 1, 1))
    task.kept[0][WAY].copy_(torch.tensor([-2.0, 0.0]))
    task.state.vector.copy_(torch.tensor([3.0, 0.0]))
    rule = DynamicRegulariser(0.5)
    task.rules = [rule]
    task.train(0)
    gradient = torch.zeros(2, dtype=torch.float64)
    task.kept[0][WAY].copy_(torch.tensor([-2.0, 0.0]))
    rule.start(rule._work)
    rule.before(torch.tensor([2.0, 0.0]).double(), gradient)
    assert gradient.tolist() == [-1.5, 0.0]


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("momentum", 0.02)])
def test_it_finds_the_common_minimum_where_fedavg_does_not(optimizer: str, lr: float) -> None:
    """The paper's clients minimise; the fixed point is the same where they make a few steps."""
    scenario = SGD.but(optimizer=optimizer, lr=lr)
    steps = (12, 8, 10)
    assert Quadratics(scenario, steps=steps).gap(150) < 1e-8
    assert Quadratics(scenario.but(strategy="fedavg"), steps=steps).gap(150) > 0.1


def test_it_does_so_with_sampled_clients() -> None:
    cohorts = [(0, 1), (1, 2), (0, 2)]
    task = Quadratics(SGD.but(alpha_dyn=2.0, lr=0.1))
    assert task.gap(200, lambda r: cohorts[r % 3]) < 1e-8


def test_the_servers_state_is_the_mean_of_the_clients() -> None:
    """h = sum h_k / m, in any sampling, as each change of one is a change of the other."""
    task = Quadratics(SGD)
    for clients in ((0, 1), (2,), (0, 1, 2), (1,)):
        task.advance(clients)
        mean = torch.stack([kept[WAY] for kept in task.kept]).mean(0)
        torch.testing.assert_close(task.state.memory[DRIFT], mean)


@pytest.fixture(scope="module")
def honest() -> Any:
    return run(SMALL, 0)


def test_two_processes_make_the_same_bits(honest: Any) -> None:
    assert training_problems(honest) == []
    assert honest.audit.identity.rounds_checked == 4
    assert run(SMALL, 0, processes=2).model_digest == honest.model_digest


def unused(self: DynamicRegulariser, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    """The gradient stays as it is."""


def proximal_only(self: DynamicRegulariser, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    gradient.add_(weights - self._work.anchor, alpha=self._alpha)


def half(self: DynamicRegulariser, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    gradient.add_(weights, alpha=self._alpha / 2).add_(self._offset, alpha=self._alpha / 2)


STEP = FedDyn.step


def by_cohort(self: FedDyn, updates: torch.Tensor, cohort: Any, memory: Any) -> torch.Tensor:
    memory.population = None
    return STEP(self, updates, cohort, memory)


@pytest.mark.parametrize(
    ("where", "name", "bug", "finding"),
    [
        (DynamicRegulariser, "before", unused, "its regulariser is"),
        (DynamicRegulariser, "before", proximal_only, "its regulariser is"),
        (DynamicRegulariser, "before", half, "its regulariser is"),
        (DynamicRegulariser, "end", lambda self, weights: None, "its regulariser is"),
        (FedDyn, "step", by_cohort, "does not step by"),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: Any, where: Any, name: str, bug: Any, finding: str
) -> None:
    monkeypatch.setattr(where, name, bug)
    with pytest.raises(IdentityError, match=finding):
        run(SMALL, 0)


@pytest.mark.parametrize("changes", [
    {"optimizer": "proximal", "mu": 0.1}, {"optimizer": "clientmomentum"},
    {"preaggregation": "bucketing"}, {"privacy": "centraldp", "epsilon": 10.0},
])  # fmt: skip
def test_refusals(changes: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"feddyn"):
        SMALL.but(**changes)


def test_engines_that_know_no_rules_refuse_it() -> None:
    with pytest.raises(FedcoreError, match="strategy 'feddyn' acts within local steps"):
        run(SMALL, 0, engine="stacked")
