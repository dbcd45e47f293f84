"""SCAFFOLD: by hand, on problems whose minimum is known, and where its proofs look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario, run
from fedcore.errors import FedcoreError, IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.harness.proofs.judge import training_problems
from fedcore.strategies.averaging.scaffold import CONTROL, VARIATE, ControlVariates, Scaffold
from tests.strategies.averaging.quadratics import Quadratics

SGD = Scenario(strategy="scaffold", optimizer="sgd", lr=0.02)
SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=0.5, rounds=5,
    partition="dirichlet", alpha=0.3, min_partition_size=2, optimizer="momentum",
    strategy="scaffold", local_epochs=(1, 2),
)  # fmt: skip


def test_a_round_by_hand() -> None:
    """lr 0.5, one step from 0: y = -0.5 g, so c_i = g_i and c = (g_1 + g_2) / 2 of 2 clients."""
    task = Quadratics(SGD.but(lr=0.5), steps=(1, 1), a=torch.ones(2, 2).double(),
                      b=torch.tensor([[2.0, 0.0], [0.0, 4.0]]).double())  # fmt: skip
    after = task.advance((0, 1))
    assert after.tolist() == [0.5, 1.0]  # -0.5 times the mean of (-2, 0) and (0, -4)
    # stored is the displacement of a step, -lr c
    assert task.kept[0][VARIATE].tolist() == [1.0, 0.0]
    assert task.kept[1][VARIATE].tolist() == [0.0, 2.0]
    assert task.state.memory[CONTROL].tolist() == [0.5, 1.0]
    # g - c_i + c: at (0.5, 1) client 0 has g = (-1.5, 1), c_0 = (-2, 0), c = (-1, -2)
    assert task.train(0).tolist() == [0.25, 0.5]  # -0.5 * (-1.5 + 2 - 1, 1 - 0 - 2)


def test_only_the_cohort_moves_the_servers_variate() -> None:
    """Of 3 clients 1 takes part: c = c + (c_1+ - c_1) / 3."""
    task = Quadratics(SGD, steps=(4, 4, 4))
    task.advance((1,))
    expected = task.kept[1][VARIATE] / 3
    torch.testing.assert_close(task.state.memory[CONTROL], expected)


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("momentum", 0.01)])
def test_it_finds_the_common_minimum_where_fedavg_does_not(optimizer: str, lr: float) -> None:
    scenario = SGD.but(optimizer=optimizer, lr=lr)
    assert Quadratics(scenario).gap(100) < 1e-9
    assert Quadratics(scenario.but(strategy="fedavg")).gap(100) > 0.1


def test_it_does_so_with_sampled_clients() -> None:
    cohorts = [(0, 1), (1, 2), (0, 2)]
    assert Quadratics(SGD.but(lr=0.05)).gap(150, lambda r: cohorts[r % 3]) < 1e-9


def test_at_full_participation_the_servers_variate_is_the_clients_mean() -> None:
    task = Quadratics(SGD.but(optimizer="momentum"))
    for _ in range(5):
        task.advance()
        mean = torch.stack([kept[VARIATE] for kept in task.kept]).mean(0)
        torch.testing.assert_close(task.state.memory[CONTROL], mean)


def test_equal_clients_make_it_fedavg(cohort: Any) -> None:
    """The corrections of equal functions cancel, and equal samples make the means equal."""
    same = {"a": torch.full((3, 2), 2.0).double(), "b": torch.ones(3, 2).double()}
    one = Quadratics(SGD, steps=(4, 4, 4), **same)
    other = Quadratics(SGD.but(strategy="fedavg"), steps=(4, 4, 4), **same)
    for _ in range(4):
        torch.testing.assert_close(one.advance(), other.advance())


def test_the_server_rate_scales_the_step_and_not_the_variate(cohort: Any) -> None:
    sent = cohort([[1.0, 0.0], [3.0, 2.0]], samples=(90, 10), normalizers=(1.0, 2.0))
    memory, doubled = Memory(), Memory()
    step = Scaffold().step(sent.updates, sent, memory)
    assert step.tolist() == [2.0, 1.0]  # a plain mean, whatever the samples are
    twice = Scaffold(server_lr=2.0).step(sent.updates, sent, doubled)
    assert twice.tolist() == [4.0, 2.0]
    assert memory[CONTROL].tolist() == doubled[CONTROL].tolist() == [1.25, 0.5]


@pytest.fixture(scope="module")
def honest() -> Any:
    return run(SMALL, 0)


def test_two_processes_make_the_same_bits(honest: Any) -> None:
    assert training_problems(honest) == []
    assert honest.audit.identity.rounds_checked == 5
    assert run(SMALL, 0, processes=2).model_digest == honest.model_digest


def test_a_malicious_clients_own_variate_is_of_its_honest_work() -> None:
    """With one client that sends the opposite, the account of its work still holds."""
    record = run(SMALL.but(attack="signflip", malicious_fraction=0.34), 0)
    assert training_problems(record) == []


def unused(self: ControlVariates, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    """The gradient stays as it is."""


def reverse(self: ControlVariates, weights: torch.Tensor, gradient: torch.Tensor) -> None:
    gradient.sub_(self._correction)


def forgetful(self: ControlVariates, weights: torch.Tensor) -> None:
    """The variate stays at zero."""


def option_one(self: ControlVariates, weights: torch.Tensor) -> None:
    work = self._work
    work.kept[VARIATE].copy_((weights - work.anchor) / work.steps)


STEP = Scaffold.step


def by_cohort(self: Scaffold, updates: torch.Tensor, cohort: Any, memory: Any) -> torch.Tensor:
    memory.population = None  # over the cohort instead of all clients
    return STEP(self, updates, cohort, memory)


def late(self: Scaffold, updates: torch.Tensor, cohort: Any, memory: Any) -> torch.Tensor:
    before = memory.get(CONTROL)
    step = STEP(self, updates, cohort, memory)
    if before is not None:
        memory[CONTROL] = before  # of the round before
    return step


@pytest.mark.parametrize(
    ("where", "name", "bug", "finding"),
    [
        (ControlVariates, "before", unused, "control variates are"),
        (ControlVariates, "before", reverse, "control variates are"),
        (ControlVariates, "end", forgetful, "control variates are"),
        (ControlVariates, "end", option_one, "control variates are"),
        (Scaffold, "step", by_cohort, "another 'control'"),
        (Scaffold, "step", late, "another 'control'"),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: Any, where: Any, name: str, bug: Any, finding: str
) -> None:
    monkeypatch.setattr(where, name, bug)
    with pytest.raises(IdentityError, match=finding):
        run(SMALL, 0)


def test_weighting_by_samples_is_found(monkeypatch: Any) -> None:
    def weighted(self: Scaffold, updates: Any, cohort: Any, memory: Any) -> Any:
        STEP(self, updates, cohort, memory)
        return cohort.weights.to(updates) @ updates

    monkeypatch.setattr(Scaffold, "step", weighted)
    with pytest.raises(IdentityError, match="does not step by"):
        run(SMALL, 0)


@pytest.mark.parametrize("changes", [
    {"optimizer": "adam"}, {"optimizer": "proximal", "mu": 0.1}, {"optimizer": "clientmomentum"},
    {"preaggregation": "bucketing"}, {"privacy": "localdp", "epsilon": 10.0},
])  # fmt: skip
def test_refusals(changes: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"scaffold"):
        SMALL.but(**changes)


def test_engines_that_know_no_rules_refuse_it() -> None:
    with pytest.raises(FedcoreError, match="strategy 'scaffold' acts within local steps"):
        run(SMALL, 0, engine="stacked")
    pytest.importorskip("flwr")
    with pytest.raises(FedcoreError, match="goes over Flower"):
        run(SMALL, 0, engine="flower-grid")


def test_what_is_not_finite_reaches_the_model_as_under_fedavg(cohort: Any) -> None:
    sent = cohort([[1.0, np.nan], [3.0, 2.0]], normalizers=(1.0, 2.0))
    step = Scaffold().step(sent.updates, sent, Memory())
    assert step[0] == 2.0
    assert bool(step[1].isnan())
