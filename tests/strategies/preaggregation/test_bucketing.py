"""Bucketing: means of random buckets of updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.preaggregation.bucketing import Bucketing


def mixed(sent, size: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return Bucketing(size=size).mix(sent.updates, sent, generator)


def test_the_rows_of_five_clients_in_twos(cohort) -> None:
    rows = [[1.0], [2.0], [4.0], [8.0], [16.0]]
    sent = cohort(rows, samples=(1, 10, 100, 1000, 10000), normalizers=(1.0, 2.0, 3.0, 4.0, 5.0))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(3)).tolist()
    made, facts = mixed(sent, 2, seed=3)
    values = [2.0**i for i in order]
    pairs = [(values[0] + values[1]) / 2, (values[2] + values[3]) / 2, values[4]]
    assert made.flatten().tolist() == pairs  # the last bucket is smaller, its mean is not
    tens = [10**i for i in order]
    assert facts.samples == (tens[0] + tens[1], tens[2] + tens[3], tens[4])
    steps = [i + 1 for i in order]
    assert facts.steps == (steps[0] + steps[1], steps[2] + steps[3], steps[4])
    assert facts.normalizers == (None, None, None)
    assert facts.clients == (0, 1, 2)


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 10**6))
def test_every_client_is_in_one_bucket(cohort, clients, size, seed) -> None:
    sent = cohort(torch.eye(clients, dtype=torch.float64), samples=range(1, clients + 1))
    made, facts = mixed(sent, size, seed)
    assert len(made) == len(facts.clients) == Bucketing(size=size).rows(clients)
    members = made > 0
    assert members.sum(dim=0).tolist() == [1] * clients
    sizes = members.sum(dim=1)
    assert sizes.tolist()[:-1] == [size] * (len(made) - 1)
    np.testing.assert_allclose(made.sum(dim=1), np.ones(len(made)))
    samples = members.double() @ torch.arange(1, clients + 1, dtype=torch.float64)
    assert list(facts.samples) == samples.tolist()


@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 10**6))
def test_fedavg_behind_full_buckets_of_equal_clients_is_fedavg(cohort, buckets, size, seed) -> None:
    rows = torch.randn(buckets * size, 3, dtype=torch.float64)
    sent = cohort(rows)
    made, facts = mixed(sent, size, seed)
    plain = FedAvg.step(None, rows, sent, {})  # type: ignore[arg-type]
    torch.testing.assert_close(FedAvg.step(None, made, facts, {}), plain)  # type: ignore[arg-type]


def test_a_client_that_is_not_finite_spoils_its_bucket_only(cohort) -> None:
    rows = torch.ones(7, 2)
    rows[3] = float("nan")
    made, _ = mixed(cohort(rows), 2)
    assert made.isnan().all(dim=1).sum() == 1
    assert made.isfinite().all(dim=1).sum() == 3


def test_updates_are_left_as_they_are(cohort) -> None:
    rows = torch.randn(5, 4)
    kept = rows.clone()
    mixed(cohort(rows), 3)
    assert torch.equal(rows, kept)


@pytest.mark.parametrize(("clients", "size", "rows"), [(5, 2, 3), (6, 2, 3), (5, 7, 1), (1, 2, 1)])
def test_how_many_rows(clients, size, rows) -> None:
    assert Bucketing(size=size).rows(clients) == rows
