"""Bugs planted in what the server is told of its clients, or is left with after a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedcore import run
from fedcore.engine.sequential import SequentialEngine
from fedcore.engine.stacked import StackedEngine
from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.simulation.identity import IdentityCheck
from tests.harness.proofs.planted import ATTACKED, Patch, wrapped

DEALT = ATTACKED.but(partition="dirichlet", alpha=0.5, min_partition_size=2)


def unweighted(cohort: Cohort) -> Cohort:
    return dataclasses.replace(cohort, samples=(1,) * len(cohort.samples))


def equal_work(cohort: Cohort) -> Cohort:
    """FedNova then is FedAvg, and its normalizers fit the steps that it is told."""
    alike = len(cohort.steps)
    return dataclasses.replace(cohort, steps=(2,) * alike, normalizers=(2.0,) * alike)


def halved(cohort: Cohort) -> Cohort:
    return dataclasses.replace(cohort, updates=cohort.updates * 0.5)


def turned(cohort: Cohort) -> Cohort:
    updates = cohort.updates.clone()
    updates[-1].neg_()
    return dataclasses.replace(cohort, updates=updates)


@pytest.mark.parametrize("strategy", ["fedavg", "fednova"])
@pytest.mark.parametrize("engine", ["sequential", "stacked"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (unweighted, "client 0 counts as one of 1 samples, has 37"),
        (equal_work, "client 1 counts as one of 2 local steps, has 6"),
        (halved, "the update of client 0 is not the way that it trained"),
        (turned, "the update of client 7 is not the way that it trained"),
    ],
)
def test_a_cohort_of_other_facts_or_updates(
    monkeypatch: Patch, other: Callable[[Cohort], Cohort], message: str, engine: str, strategy: str
) -> None:
    def around(original: Any, *arguments: Any) -> Cohort:
        return other(original(*arguments))

    for owner in (SequentialEngine, StackedEngine):
        wrapped(monkeypatch, owner, "train", around)
    with pytest.raises(IdentityError, match=f"{message}: in [123] of the 3 rounds"):
        run(DEALT.but(strategy=strategy), device="cpu", engine=engine)


def test_a_step_that_is_halved_once_it_has_been_judged(monkeypatch: Patch) -> None:
    """In the last round, too, which no other one follows."""
    before: list[torch.Tensor] = []

    def noted(original: Any, self: IdentityCheck, state: ServerState, *rest: Any) -> None:
        before[:] = [state.vector.clone()]
        original(self, state, *rest)

    def around(original: Any, self: IdentityCheck, state: ServerState) -> None:
        original(self, state)
        state.vector.lerp_(before[0], 0.5)

    wrapped(monkeypatch, IdentityCheck, "before", noted)
    wrapped(monkeypatch, IdentityCheck, "after", around)
    for rounds in (1, 3):
        message = f"another than the one that its step led to: in {rounds} of the {rounds} rounds"
        with pytest.raises(IdentityError, match=message):
            run(DEALT.but(strategy="fedavg", rounds=rounds), device="cpu")
