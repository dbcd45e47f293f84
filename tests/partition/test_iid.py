"""Even shares, shuffled, complete."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import PartitionError
from fedcore.partition.iid import iid


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32))
def test_complete_disjoint_and_even(samples: int, clients: int, seed: int) -> None:
    if clients > samples:
        return
    labels = np.zeros(samples, dtype=np.int64)
    parts = iid(labels, clients, np.random.default_rng(seed))
    sizes = [len(part) for part in parts]
    assert len(parts) == clients
    assert max(sizes) - min(sizes) <= 1
    assert all(part.dtype == np.int64 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(samples))


def test_label_sorted_data_are_shuffled() -> None:
    labels = np.repeat(np.arange(4), 100)
    parts = iid(labels, 4, np.random.default_rng(0))
    assert all(np.bincount(labels[part], minlength=4).min() >= 10 for part in parts)


def test_more_clients_than_samples_are_refused() -> None:
    message = r"num_clients <= samples, got num_clients=5 and 4 samples: lower num_clients"
    with pytest.raises(PartitionError, match=message):
        iid(np.zeros(4, dtype=np.int64), 5, np.random.default_rng(0))


def test_ten_thousand_clients_take_under_a_second() -> None:
    labels = np.zeros(200_000, dtype=np.int64)
    start = time.perf_counter()
    iid(labels, 10_000, np.random.default_rng(0))
    assert time.perf_counter() - start < 1.0
