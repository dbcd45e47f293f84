"""Client momentum: what is sent, by hand, over rounds and pauses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.errors import FedcoreError, IdentityError, ScenarioError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.optimizers.clientmomentum import RoundMomentum
from tests.strategies.averaging.quadratics import Quadratics

SGD = Scenario(optimizer="clientmomentum", beta=0.75, lr=0.5)
SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=0.5, rounds=6,
    strategy="centeredclipping", norm_bound=1.0, optimizer="clientmomentum", local_epochs=2,
)  # fmt: skip


def test_three_rounds_by_hand() -> None:
    """One step of lr 0.5 on w^2/2 around (8, 0): u = 4; then 0.75 * 4 + 0.25 u, and so on."""
    task = Quadratics(
        SGD, steps=(1,), a=torch.ones(1, 2).double(), b=torch.tensor([[8.0, 0.0]]).double()
    )
    assert task.advance((0,)).tolist() == [4.0, 0.0]  # the first update as it is
    task.advance((0,))  # u = 2
    assert task.sent.tolist() == [[3.5, 0.0]]
    task.advance((0,))  # from 7.5: u = 0.25
    assert task.sent.tolist() == [[0.75 * 3.5 + 0.25 * 0.25, 0.0]]


def test_with_one_step_it_is_the_papers_momentum_of_gradients() -> None:
    """m = beta m + (1 - beta) g; sent is -lr m, for any sequence of gradients."""
    task = Quadratics(SGD.but(beta=0.9, lr=0.1), steps=(1, 1, 1))
    momenta: dict[int, Any] = {}
    for clients in ((0, 1, 2), (0, 2), (1,), (0, 1, 2)):
        at = task.state.vector.clone()
        task.advance(clients)
        for row, client in enumerate(clients):
            gradient = task.a[client] * (at - task.b[client])
            before = momenta.get(client)
            momenta[client] = gradient if before is None else 0.9 * before + 0.1 * gradient
            torch.testing.assert_close(task.sent[row], -0.1 * momenta[client])


def test_the_noise_of_what_is_sent_is_less() -> None:
    """Of a stationary noise the variance falls to (1 - beta) / (1 + beta) of it: 0.053 at 0.9."""
    generator = torch.Generator().manual_seed(0)

    def noise() -> torch.Tensor:
        return torch.randn(2, dtype=torch.float64, generator=generator)

    def sent(optimizer: str) -> torch.Tensor:
        task = Quadratics(
            Scenario(optimizer=optimizer, lr=0.1), steps=(1,), a=torch.zeros(1, 2).double(),
            b=torch.zeros(1, 2).double(),
        )  # fmt: skip
        rows = []
        for _ in range(2000):
            task.advance((0,), disturb=noise)
            rows.append(task.sent[0])
        return torch.stack(rows[50:])

    assert float(sent("clientmomentum").var() / sent("sgd").var()) == pytest.approx(0.053, rel=0.3)


@pytest.fixture(scope="module")
def honest() -> Any:
    return run(SMALL, 0)


def test_two_processes_make_the_same_bits(honest: Any) -> None:
    assert training_problems(honest) == []
    assert honest.audit.training.rates  # of plain SGD
    assert run(SMALL, 0, processes=2).model_digest == honest.model_digest
    assert run(SMALL.but(optimizer="sgd"), 0).model_digest != honest.model_digest


def test_what_malicious_clients_keep_is_honest() -> None:
    record = run(SMALL.but(attack="signflip", malicious_fraction=0.34), 0)
    assert audit_problems(record) == training_problems(record) == []


def memoryless(self: RoundMomentum, weights: torch.Tensor) -> None:
    """What was trained is sent."""


def other_share(self: RoundMomentum, weights: torch.Tensor) -> None:
    self._beta = 0.8
    END(self, weights)


def from_zero(self: RoundMomentum, weights: torch.Tensor) -> None:
    self._work.__dict__["first"] = False
    END(self, weights)


END = RoundMomentum.end


@pytest.mark.parametrize("bug", [memoryless, other_share, from_zero])
def test_a_planted_bug_is_found(monkeypatch: Any, bug: Any) -> None:
    monkeypatch.setattr(RoundMomentum, "end", bug)
    with pytest.raises(IdentityError, match="its momentum is"):
        run(SMALL, 0)


@pytest.mark.parametrize("changes", [
    {"strategy": "fedbn", "model": "cnn", "norm": "batch"}, {"strategy": "fednova"},
    {"privacy": "localdp", "epsilon": 10.0},
    {"attack": "neurotoxin", "malicious_fraction": 0.4},
])  # fmt: skip
def test_refusals(changes: dict[str, Any]) -> None:
    base = Scenario(optimizer="clientmomentum", num_clients=6)
    with pytest.raises(ScenarioError, match="clientmomentum"):
        base.but(**changes)


def test_engines_that_know_no_rules_refuse_it() -> None:
    with pytest.raises(FedcoreError, match="optimizer 'clientmomentum' acts within local steps"):
        run(SMALL, 0, engine="stacked")
