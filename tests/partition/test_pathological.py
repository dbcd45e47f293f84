"""Few classes per client; the indices themselves are in test_reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import PartitionError
from fedcore.partition.pathological import pathological

LABELS = np.random.default_rng(4).permutation(np.repeat(np.arange(6), 50))
ASSIGNMENTS = ("random", "deterministic", "first-deterministic")


@given(st.integers(1, 40), st.integers(1, 6), st.sampled_from(ASSIGNMENTS), st.integers(0, 2**32))
def test_each_client_holds_its_classes(clients: int, each: int, how: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parts = pathological(LABELS, clients, each, generator, class_assignment=how)
    matrix = np.stack([np.bincount(LABELS[part], minlength=6) for part in parts])
    assert ((matrix > 0).sum(axis=1) == each).all()
    # a class is dealt whole or not at all, evenly, and nothing is dealt twice
    assert set(matrix.sum(axis=0)) <= {0, 50}
    for column in matrix.T:
        held = column[column > 0]
        assert held.size == 0 or held.max() - held.min() <= 1
    dealt = np.concatenate(parts)
    assert len(np.unique(dealt)) == len(dealt)


def test_deterministic_assignment() -> None:
    generator = np.random.default_rng(0)
    parts = pathological(LABELS, 6, 2, generator, class_assignment="deterministic")
    held = [set(LABELS[part].tolist()) for part in parts]
    assert held == [{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}]


def test_first_class_deterministic() -> None:
    generator = np.random.default_rng(0)
    parts = pathological(LABELS, 12, 3, generator, class_assignment="first-deterministic")
    assert all(client % 6 in LABELS[part] for client, part in enumerate(parts))


def test_more_classes_per_client_than_classes() -> None:
    message = "classes_per_client=7 and 6 classes: lower classes_per_client"
    with pytest.raises(PartitionError, match=message):
        pathological(LABELS, 5, 7, np.random.default_rng(0))


def test_more_holders_than_samples_of_a_class() -> None:
    labels = np.array([0] * 50 + [1])
    message = "4 clients hold class 1, which has 1 samples; lower num_clients"
    with pytest.raises(PartitionError, match=message):
        pathological(labels, 4, 2, np.random.default_rng(0))


def test_more_clients_than_samples_are_refused() -> None:
    with pytest.raises(PartitionError, match="num_clients=301 and 300 samples"):
        pathological(LABELS, 301, 1, np.random.default_rng(0))


def test_unknown_assignment() -> None:
    with pytest.raises(ValueError, match=r"class_assignment must be one of random, .* got 'odd'"):
        pathological(LABELS, 5, 2, np.random.default_rng(0), class_assignment="odd")
