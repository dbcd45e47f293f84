"""Train longer: epochs times a factor, counted by a witness and drawn once more by the proofs."""

from __future__ import annotations

from typing import Any

import pytest

from fedcore import Scenario, run
from fedcore.attacks.attack import Work
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.work.trainlonger import TrainLonger
from fedcore.errors import AttackError
from fedcore.federation.threat import Threat
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems

SMALL = Scenario(
    dataset="synthetic:160", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
    local_epochs=(1, 2), optimizer="sgd", malicious_fraction=0.5,
    attack=TrainLonger(epoch_factor=2.5),
)  # fmt: skip


@pytest.mark.parametrize(
    ("factor", "epochs", "expected"),
    [(5.0, 1, 5), (2.5, 1, 3), (2.5, 2, 5), (0.5, 3, 2), (0.1, 1, 1), (1.0, 4, 4)],
)
def test_epochs_by_hand(factor: float, epochs: int, expected: int) -> None:
    assert TrainLonger(epoch_factor=factor).changed(Work(epochs)) == Work(expected)
    both = TrainLonger(epoch_factor=2.0, of=TrainLonger(epoch_factor=factor))
    assert both.changed(Work(epochs)) == Work(2 * expected)


def test_malicious_clients_make_the_steps_and_nobody_else() -> None:
    record = run(SMALL, 0)
    assert audit_problems(record) == training_problems(record) == []
    twin = run(SMALL.clean_twin(), 0)
    for client, (own, usual) in enumerate(zip(record.audit.epochs, twin.audit.epochs, strict=True)):
        malicious = client in record.audit.malicious
        longer = TrainLonger(epoch_factor=2.5).changed(Work(usual)).epochs
        assert own == (longer if malicious else usual)


def half(self: TrainLonger, base: Work) -> Work:
    return Work(round(base.epochs * self.epoch_factor / 2))


def test_half_the_factor_is_found(monkeypatch: Any) -> None:
    monkeypatch.setattr(TrainLonger, "changed", half)
    record = run(SMALL.but(attack=TrainLonger(epoch_factor=4.0)), 0)
    assert any("local epochs" in text for text in training_problems(record))


@pytest.mark.parametrize("spared", [1, 2])
def test_a_client_that_trains_as_usual_is_found(monkeypatch: Any, spared: int) -> None:
    work = Threat.local_work

    def fewer(self: Threat, epochs: Any, steps: Any) -> Any:
        result, counts = work(self, epochs, steps)
        result[self.malicious[:spared]] = epochs[self.malicious[:spared]]
        return result, counts

    monkeypatch.setattr(Threat, "local_work", fewer)
    assert any("local epochs" in text for text in training_problems(run(SMALL, 0)))


def test_a_factor_that_changes_nothing_is_refused() -> None:
    with pytest.raises(AttackError, match="changes the local work of none"):
        run(SMALL.but(attack=TrainLonger(epoch_factor=1.0)), 0)


def test_on_top_of_a_flip_both_are_at_work() -> None:
    record = run(SMALL.but(attack=TrainLonger(of=LabelFlip(poison_ratio=1.0), epoch_factor=3.0)), 0)
    assert audit_problems(record) == training_problems(record) == []
    assert record.audit.samples_changed > 0
