"""The attack on running statistics: numbers by hand, what it does, planted bugs of its audit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.attacks.updates.buffers import Buffers
from fedcore.errors import AttackError, ScenarioError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.records.record import Record
from fedcore.strategies.robust.krum import Krum

BASE = Scenario(
    dataset="mnist5k", model="mlp", norm="batch", num_clients=6, fraction_train=1.0, rounds=4,
    optimizer="sgd", lr=0.1, attack="buffers", malicious_fraction=0.2,
)  # fmt: skip


def made(**changes: Any) -> Record:
    return run(BASE.but(**changes), seed=0, device="cpu")


def test_numbers_by_hand() -> None:
    model, own = torch.tensor([1.0, -4.0]), torch.zeros(3, 2)
    assert Buffers(buffer_value=2.0).craft_buffers(own, model).tolist() == [[1.0, 6.0]] * 3


@pytest.fixture(scope="module")
def taken() -> dict[str, Record]:
    return {name: made(strategy=name) for name in ("fedavg", "krum")}


def test_one_client_takes_a_mean_and_not_a_robust_rule(taken: dict[str, Record]) -> None:
    assert taken["fedavg"].accuracy[-1] < 0.2
    assert taken["krum"].accuracy[-1] > 0.6
    for record in taken.values():
        assert audit_problems(record) == []
        (each,) = record.audit.updates
        assert each.participations == 4
        assert each.change == (0.0, 0.0)  # of the parameters
        assert dict(each.measured)["changed"] == (0.0, 0.0)


def test_a_robust_rule_that_averages_buffers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Krum, "buffer_rule", "mean")
    assert made(strategy="krum").accuracy[-1] < 0.2


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_an_attack_that_is_not_made(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Buffers as they were trained, or a tenth of what they must be."""
    planted = Buffers.craft_buffers

    def weaker(self: Buffers, own: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
        return share * planted(self, own, model) if share else own

    monkeypatch.setattr(Buffers, "craft_buffers", weaker)
    problems = audit_problems(made(rounds=1))
    assert any("whose measure 'off'" in text for text in problems), problems


def test_parameters_that_are_changed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buffers, "touches", ("parameters", "buffers"))
    monkeypatch.setattr(Buffers, "craft", lambda self, seen: -seen.own)
    assert any("whose measure 'changed'" in text for text in audit_problems(made(rounds=1)))


def test_rows_of_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buffers, "craft_buffers", lambda self, own, model: own[:, :1])
    with pytest.raises(AttackError, match="correct its craft_buffers method"):
        made(rounds=1)


def test_where_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScenarioError, match="got norm='none' for model 'mlp': set norm='batch'"):
        BASE.but(norm="none")
    with pytest.raises(ScenarioError, match="of which privacy='localdp' says what leaves"):
        BASE.but(privacy="localdp", epsilon=50.0)
    monkeypatch.setattr(Buffers, "problems", lambda self, scenario: [])  # a network of one's own
    with pytest.raises(AttackError, match="running statistics, and model 'mlp' has none"):
        made(norm="none")
