"""The clients of a run: which seed decides, what is refused, what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import PartitionError
from fedcore.federation.clients import partition
from fedcore.partition.dirichlet import dirichlet
from fedcore.scenario import Scenario, round_half_up
from fedcore.streams import Indices

LABELS = np.random.default_rng(5).integers(0, 5, 600)
SKEWED = Scenario(partition="dirichlet", alpha=0.5, min_partition_size=5, num_clients=10)


def same(one: list[Indices], other: list[Indices]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_fixed_partition_seed_is_flowers_seed_whatever_the_run() -> None:
    fixed = SKEWED.but(partition_seed=123)
    expected = dirichlet(LABELS, 10, 0.5, np.random.default_rng(123), min_partition_size=5)
    assert same(partition(fixed, LABELS, 5, seed=0), expected)
    assert same(partition(fixed, LABELS, 5, seed=1), expected)


def test_otherwise_the_run_decides() -> None:
    first = partition(SKEWED, LABELS, 5, seed=0)
    assert same(first, partition(SKEWED, LABELS, 5, seed=0))
    assert not same(first, partition(SKEWED, LABELS, 5, seed=1))


@pytest.mark.parametrize("name", ["iid", "dirichlet", "pathological"])
def test_every_partitioner_runs_on_its_defaults(name: str) -> None:
    needs = {"dirichlet": {"alpha": 1.0}, "pathological": {"classes_per_client": 3}}
    scenario = Scenario(partition=name, num_clients=10, **needs.get(name, {}))
    parts = partition(scenario, LABELS, 5, seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))


def test_empty_clients_are_refused_by_name() -> None:
    scenario = Scenario(partition="dirichlet", alpha=0.01, min_partition_size=0, num_clients=12)
    with pytest.raises(PartitionError) as error:
        partition(scenario, LABELS, 5, seed=0)
    parts = partition(scenario.but(allow_incomplete=True), LABELS, 5, seed=0)
    empty = [client for client, part in enumerate(parts) if len(part) == 0]
    assert f"leaves {len(empty)} client(s) without samples (clients {empty[0]}," in str(error.value)
    assert "min_partition_size of 1 or more, or set allow_incomplete=True" in str(error.value)


def test_dropped_classes_are_refused_by_name() -> None:
    scenario = Scenario(
        partition="pathological",
        classes_per_client=1,
        class_assignment="deterministic",
        num_clients=3,
    )
    lost = int(np.isin(LABELS, (3, 4)).sum())
    message = rf"drops {lost} of 600 samples, all of 2 class\(es\) \(classes 3, 4\)"
    with pytest.raises(PartitionError, match=message):
        partition(scenario, LABELS, 5, seed=0)
    parts = partition(scenario.but(allow_incomplete=True), LABELS, 5, seed=0)
    assert sum(len(part) for part in parts) == 600 - lost


@given(st.floats(0, 0.999), st.integers(0, 100))
def test_held_out_samples(fraction: float, seed: int) -> None:
    whole = partition(SKEWED, LABELS, 5, seed)
    training = partition(SKEWED.but(validation_fraction=fraction), LABELS, 5, seed)
    for all_of_it, kept in zip(whole, training, strict=True):
        held = min(round_half_up(fraction * len(all_of_it)), len(all_of_it) - 1)
        assert len(kept) == len(all_of_it) - held >= 1
        assert np.array_equal(kept, all_of_it[np.isin(all_of_it, kept)])


def test_held_out_samples_of_a_fixed_partition_are_fixed() -> None:
    fixed = SKEWED.but(partition_seed=7, validation_fraction=0.2)
    assert same(partition(fixed, LABELS, 5, seed=0), partition(fixed, LABELS, 5, seed=1))


def test_empty_clients_hold_nothing_out() -> None:
    scenario = Scenario(
        partition="dirichlet",
        alpha=0.01,
        min_partition_size=0,
        num_clients=12,
        allow_incomplete=True,
        validation_fraction=0.5,
    )
    assert min(len(part) for part in partition(scenario, LABELS, 5, seed=0)) == 0
