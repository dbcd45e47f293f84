"""The identity check of a strategy without a definition, and of single coordinates."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from fedcore.errors import IdentityError
from fedcore.records.record import Identity
from fedcore.strategies.averaging.fedavg import FedAvg
from tests.simulation.test_identity import SPREAD, of, sent, watch


class Other(FedAvg):
    """A strategy of somebody else, who says that it is not FedAvg."""

    differ: ClassVar[bool] = True
    steps: ClassVar = FedAvg.step

    def step(self, updates, cohort, memory):
        return type(self).steps(self, updates, cohort, memory)

    def must_differ(self, cohort, memory):
        return self.differ


def test_a_strategy_without_a_definition_is_held_to_its_own_word(monkeypatch) -> None:
    rows = sent(SPREAD)
    with pytest.raises(IdentityError, match="equals FedAvg's where it must not"):
        watch(Other(), rows, torch.zeros(3))
    assert watch(Other(), sent(torch.ones(3, 3)), torch.zeros(3)) == Identity(0, 0, 0)
    monkeypatch.setattr(Other, "steps", lambda self, u, c, m: u.mean(dim=0))
    assert watch(Other(), rows, torch.zeros(3)) == Identity(1, 1, 1)
    monkeypatch.setattr(Other, "differ", False)
    assert watch(Other(), rows, torch.zeros(3)) == Identity(0, 0, 0)


def test_a_difference_in_one_coordinate_of_many_is_one(monkeypatch) -> None:
    rows = torch.randn(4, 200_000, generator=torch.Generator().manual_seed(3))

    def almost(self, updates, cohort, memory):
        step = cohort.weights.float() @ updates
        step[150_001] += 1
        return step

    monkeypatch.setattr(Other, "steps", almost)
    assert watch(Other(), sent(rows), torch.zeros(200_000)) == Identity(1, 1, 1)


def test_beside_a_nan_a_finite_step_differs() -> None:
    rows = SPREAD.clone()
    rows[0, 0] = float("nan")
    assert watch(of("median").parts.strategy, sent(rows), torch.zeros(3)).rounds_due == 1
