"""The identity check of buffers: planted bugs of every strategy's aggregation, and of a chain's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedcore import Scenario, run
from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.simulation.identity import IdentityCheck
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.averaging.fednova import FedNova
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine

OURS = sorted(set(STRATEGIES) - {"flower"})
CLIENTS, PARAMETERS, BUFFERS = 15, 300, 40
BASE = Scenario(
    dataset="synthetic:400", model="cnn", norm="batch", num_clients=CLIENTS, fraction_train=1.0,
    optimizer="sgd",
)  # fmt: skip


def watch(name: str, *chain: Bucketing) -> None:
    """Raises IdentityError for two rounds of the strategy ``name`` that are not what they must."""
    scenario = BASE.but(strategy=name)
    server = Aggregation(scenario.parts.strategy, chain)
    check, generator = IdentityCheck(server, scenario), torch.Generator().manual_seed(0)
    size = PARAMETERS + BUFFERS
    state = ServerState(torch.ones(size), torch.zeros(2, dtype=torch.int64))
    for round in (1, 2):
        updates = torch.randn(CLIENTS, size, generator=generator)
        sent = Cohort(
            clients=tuple(range(CLIENTS)),
            updates=updates,
            root=updates.mean(dim=0),
            counters=torch.arange(2 * CLIENTS).flip(0).reshape(CLIENTS, 2),
            samples=tuple(range(10, 10 + 7 * CLIENTS, 7)),
            steps=tuple(range(1, CLIENTS + 1)),
            normalizers=tuple(float(step) for step in range(1, CLIENTS + 1)),
        )
        check.before(state, sent, PARAMETERS, round)
        state = server.aggregate(state, sent, PARAMETERS, round, check.mixed)
        check.after(state)
    check.verdict()


@pytest.mark.parametrize("name", OURS)
def test_every_strategy_treats_buffers_as_it_says(name: str) -> None:
    watch(name)
    if name not in ("fednova", "bulyan", "scaffold", "feddyn"):
        watch(name, Bucketing())


Buffers = Callable[[Strategy, Cohort, int], torch.Tensor]


def aggregate_with(
    buffers: Buffers,
    counters: Callable[[Strategy, Cohort], torch.Tensor] | None = None,
) -> Any:
    def aggregate(self, state, cohort, n, rows=None):
        vector = state.vector.clone()
        given = cohort if rows is None else rows
        vector[:n] += self.step(given.updates[:, :n], given, state.memory)
        vector[n:] += buffers(self, cohort, n)
        count = counters or counted_rightly
        kept = count(self, cohort) if cohort.counters.numel() else state.counters
        return ServerState(vector, kept, state.memory)

    return aggregate


def equally(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    return cohort.updates[:, n:].mean(dim=0)


def normalised(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    return combine(cohort.updates[:, n:], FedNova.coefficients(cohort))


def not_at_all(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    return torch.zeros_like(cohort.updates[0, n:])


def not_one(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    moved = rightly(strategy, cohort, n)
    moved[-1] = 0
    return moved


def rightly(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    if strategy.buffer_rule == "median":
        return cohort.updates[:, n:].median(dim=0).values  # of 15: there is one in the middle
    return averaged(strategy, cohort, n)


def averaged(strategy: Strategy, cohort: Cohort, n: int) -> torch.Tensor:
    return combine(cohort.updates[:, n:], cohort.weights)


def counted_rightly(strategy: Strategy, cohort: Cohort) -> torch.Tensor:
    if strategy.buffer_rule == "median":
        return cohort.counters.median(dim=0).values
    return cohort.counters.amax(dim=0)


@pytest.mark.parametrize("buffers", [equally, normalised, not_at_all, not_one])
@pytest.mark.parametrize("name", OURS)
def test_buffers_weighted_wrongly(
    monkeypatch: pytest.MonkeyPatch, name: str, buffers: Buffers
) -> None:
    monkeypatch.setattr(Strategy, "aggregate", aggregate_with(buffers))
    verb = "take the median of" if STRATEGIES[name].buffer_rule == "median" else "weight"
    with pytest.raises(IdentityError, match=f"'{name}' does not {verb} float buffers"):
        watch(name)
    monkeypatch.setattr(Strategy, "aggregate", aggregate_with(rightly))
    watch(name)


@pytest.mark.parametrize("name", [n for n in OURS if STRATEGIES[n].buffer_rule == "median"])
def test_buffers_averaged_under_a_robust_rule(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Strategy, "aggregate", aggregate_with(averaged))
    with pytest.raises(IdentityError, match="it averages them, so that one client can take them"):
        watch(name)


def test_counters_that_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = aggregate_with(rightly, lambda strategy, cohort: cohort.counters.sum(dim=0))
    monkeypatch.setattr(Strategy, "aggregate", summed)
    expected = "'fedavg' does not take the maximum of integer buffers: 225 instead of 29"
    with pytest.raises(IdentityError, match=expected):
        watch("fedavg")


def test_counters_by_maximum_under_a_robust_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    greatest = aggregate_with(rightly, lambda strategy, cohort: cohort.counters.amax(dim=0))
    monkeypatch.setattr(Strategy, "aggregate", greatest)
    expected = "'krum' does not take the lower median of integer buffers: 29 instead of 15"
    with pytest.raises(IdentityError, match=expected):
        watch("krum")


def test_buffers_that_a_chain_has_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = Strategy.aggregate

    def mixed(self, state, cohort, n, rows=None):
        unequal = dataclasses.replace(cohort, samples=(1,) * CLIENTS)  # of a bucket, say
        return rightly(self, state, unequal, n, rows)

    monkeypatch.setattr(Strategy, "aggregate", mixed)
    with pytest.raises(IdentityError, match="'fedavgm' does not weight float buffers"):
        watch("fedavgm", Bucketing())


def test_a_run_with_batch_norm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = BASE.but(num_clients=4, rounds=2, partition="dirichlet", alpha=0.5)
    run(tiny, device="cpu")
    monkeypatch.setattr(Strategy, "aggregate", aggregate_with(equally))
    with pytest.raises(IdentityError, match=r"does not weight float buffers.*in 2 of the 2 rounds"):
        run(tiny, device="cpu")
