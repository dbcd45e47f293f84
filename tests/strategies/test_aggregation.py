"""Aggregation: the chain of pre-aggregations in front of a strategy, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import ServerState
from fedcore.scenario import Scenario
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.strategies.strategy import Strategy
from fedcore.streams import Purpose, torch_stream

MEDIAN = Scenario(strategy="median", num_clients=7, fraction_train=1.0).parts.strategy


def model(size: int) -> ServerState:
    return ServerState(torch.zeros(size, dtype=torch.float64), torch.zeros(2, dtype=torch.int64))


def test_parameters_only_are_mixed(cohort) -> None:
    rows = torch.randn(7, 5, dtype=torch.float64)
    counters = [[i, 7 - i] for i in range(7)]
    sent = cohort(rows, samples=range(1, 8), counters=counters)
    plain = Aggregation(MEDIAN).aggregate(model(5), sent, 3, 1)
    after = Aggregation(MEDIAN, (Bucketing(),)).aggregate(model(5), sent, 3, 1)
    assert torch.equal(after.vector[3:], plain.vector[3:])
    assert torch.equal(after.counters, plain.counters)
    assert not torch.allclose(after.vector[:3], plain.vector[:3])


@pytest.mark.parametrize(("seed", "round"), [(0, 1), (5, 1), (5, 2)])
def test_each_link_draws_by_seed_round_and_position(seed, round, cohort) -> None:
    rows = torch.randn(9, 3, dtype=torch.float64)
    sent, seen = cohort(rows), []
    chain = (Bucketing(), Bucketing(size=3))
    server = Aggregation(MEDIAN, chain, seed)
    after = server.aggregate(model(3), sent, 3, round, seen.append)
    due = rows
    for position, link in enumerate(chain):
        stream = torch_stream(seed, Purpose.PREAGGREGATION, round=round, client=position)
        order = torch.randperm(len(due), generator=stream)
        due = torch.stack([due[bucket].mean(dim=0) for bucket in order.split(link.size)])
        torch.testing.assert_close(seen[position].updates, due)
    assert [len(each.clients) for each in seen] == [5, 2]
    torch.testing.assert_close(after.vector, due.mean(dim=0))  # the median of two


def test_what_the_strategy_is_given_has_no_counters_and_no_notes(cohort) -> None:
    import numpy as np

    seen = []
    sent = dataclasses.replace(
        cohort(torch.ones(4, 2), counters=[[1]] * 4), noted=np.zeros((4, 9), np.int64)
    )
    Aggregation(MEDIAN, (Bucketing(),)).aggregate(model(2), sent, 1, 1, seen.append)
    (rows,) = seen
    assert (rows.noted, rows.counters.shape, rows.updates.shape) == (None, (2, 0), (2, 1))


class OneTooMany(PreAggregation):
    def rows(self, clients):
        return clients

    def mix(self, updates, cohort, generator):
        return updates[1:], cohort


def test_rows_that_do_not_fit_their_facts_are_refused(cohort) -> None:
    server = Aggregation(MEDIAN, (OneTooMany(),))
    with pytest.raises(FedcoreError, match=r"OneTooMany made rows of shape \(3, 2\).* says 4"):
        server.aggregate(model(2), cohort(torch.ones(4, 2)), 2, 1)


class OfItsOwn(FedAvg):
    def aggregate(self, state, cohort, num_parameters):
        return state


def test_nothing_stands_in_front_of_an_aggregate_of_ones_own() -> None:
    with pytest.raises(FedcoreError, match=r"OfItsOwn has an aggregate of its own.*write its step"):
        Aggregation(OfItsOwn(), (Bucketing(),))
    assert issubclass(OfItsOwn, Strategy)
    Aggregation(OfItsOwn())
