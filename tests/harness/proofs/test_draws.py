"""The second derivation agrees with the one that runs use, which is golden elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, streams
from fedcore.data.loading import data_directory
from fedcore.federation.batches import batch_bounds
from fedcore.federation.federation import Federation
from fedcore.federation.threat import Threat, malicious_clients
from fedcore.harness.proofs import draws, poison
from fedcore.streams import Purpose

BASE = Scenario(
    dataset="synthetic:200", model="mlp", num_clients=8, fraction_train=0.7, rounds=5,
    local_epochs=(1, 4), attack="labelflip", malicious_fraction=0.3, poison_ratio=0.35,
)  # fmt: skip


@given(seed=st.integers(0, 2**32), client=st.integers(0, 9), round=st.integers(1, 9))
def test_generators_are_the_streams(seed: int, client: int, round: int) -> None:
    for purpose in Purpose:
        ours = draws.generator(seed, int(purpose), round, client)
        theirs = streams.stream(seed, purpose, round=round, client=client)
        assert ours.integers(2**60) == theirs.integers(2**60)
    assert draws.weights_seed(seed) == streams.torch_seed(seed, Purpose.INITIAL_WEIGHTS)


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partition_seed": 4},
        {"validation_fraction": 0.4},
        {"absent_fraction": 0.6, "min_present": 3},
        {"absent_fraction": 0.3, "absent_rounds": 2.5},
        {"partition": "quantity", "sigma": 2.0},
        {"partition": "dirichlet", "alpha": 0.5, "min_partition_size": 2},
        {"partition": "pathological", "classes_per_client": 5, "allow_incomplete": True},
    ],
    ids=str,
)
def test_a_federation(changes: dict[str, Any], seed: int) -> None:
    scenario = BASE.but(**changes)
    made = Federation.prepare(scenario, seed, data_directory(None), torch.device("cpu"))
    labels = made.dataset.train.labels.numpy()
    parts = draws.parts(scenario, seed, labels)
    assert all((a == b).all() for a, b in zip(parts, made.parts, strict=True))
    assert draws.epochs(scenario, seed) == tuple(made.epochs.tolist())
    assert draws.malicious(scenario, seed) == tuple(malicious_clients(scenario, seed).tolist())
    rounds = range(1, scenario.rounds + 1)
    cohorts, absent = draws.cohorts(scenario, seed, parts)
    assert cohorts == tuple(made.cohort(r) for r in rounds)
    assert absent == tuple(made.absences.of(r, made.drawn(r)) for r in rounds if absent)
    assert bool(absent) == (scenario.absent_fraction is not None)


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize(
    "attack",
    [
        {"attack": "labelflip"},
        {"attack": "pairflip"},
        {"attack": "targetedflip", "source_class": 2, "target_class": 0},
    ],
    ids=str,
)
def test_poisoned_labels(attack: dict[str, Any], redraw: bool) -> None:
    scenario = BASE.but(**attack, redraw=redraw)
    labels = np.arange(200) % 10
    parts = np.array_split(np.random.default_rng(0).permutation(200), 8)
    threat = Threat.prepare(scenario, 3, labels, parts, 10)
    for client in draws.malicious(scenario, 3):
        for round in (1, 2):
            ours = poison.poisoned(scenario, 3, round, client, labels[parts[client]], 10)
            assert (ours.labels == threat.labels_of(client, round)).all()


@given(samples=st.integers(1, 300), size=st.integers(1, 70))
def test_batches(samples: int, size: int) -> None:
    assert draws.batches(samples, size) == [b - a for a, b in batch_bounds(samples, size)]
