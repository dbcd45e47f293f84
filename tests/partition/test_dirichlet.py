"""Label skew: limits, options and refusals; the indices themselves are in test_reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import PartitionError
from fedcore.partition.dirichlet import dirichlet

LABELS = np.random.default_rng(3).integers(0, 5, 1000)


@given(
    st.integers(1, 20),
    st.floats(1e-3, 1e3),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_complete_and_disjoint(clients: int, alpha: float, balance: bool, seed: int) -> None:
    parts = dirichlet(
        LABELS,
        clients,
        alpha,
        np.random.default_rng(seed),
        min_partition_size=0,
        self_balancing=balance,
    )
    assert len(parts) == clients
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(LABELS)))


def test_alpha_goes_from_one_holder_to_even_shares() -> None:
    def holding(alpha: float) -> np.ndarray:
        generator = np.random.default_rng(0)
        parts = dirichlet(LABELS, 10, alpha, generator, min_partition_size=0)
        return np.stack([np.bincount(LABELS[part], minlength=5) for part in parts])

    single, even = holding(1e-4), holding(1e6)
    # all of a class but, at most, one sample: cuts are rounded down
    assert (single.sum(axis=0) - single.max(axis=0)).max() <= 1
    assert even.max() - even.min() <= 8  # counts of 181 to 218 a class


def test_self_balancing_narrows_the_sizes() -> None:
    def spread(balance: bool) -> float:
        generator = np.random.default_rng(1)
        parts = dirichlet(LABELS, 5, 0.3, generator, min_partition_size=1, self_balancing=balance)
        return float(np.std([len(part) for part in parts]))

    assert spread(True) < spread(False)


def test_minimum_size_is_kept() -> None:
    parts = dirichlet(LABELS, 10, 0.5, np.random.default_rng(2), min_partition_size=20)
    assert min(len(part) for part in parts) >= 20


def test_minimum_size_out_of_luck() -> None:
    with pytest.raises(PartitionError) as error:
        dirichlet(LABELS, 20, 0.01, np.random.default_rng(0), min_partition_size=10)
    for part in (
        "alpha=0.01",
        "min_partition_size=10",
        "11 draws",
        "num_clients=20",
        "raise alpha",
        "lower num_clients or min_partition_size",
        "another seed",
    ):
        assert part in str(error.value)


def test_minimum_size_out_of_reach() -> None:
    with pytest.raises(PartitionError, match=r"200 \* 10 > 1000: lower num_clients"):
        dirichlet(LABELS, 200, 1e6, np.random.default_rng(0), min_partition_size=10)


def test_more_clients_than_samples_are_refused() -> None:
    with pytest.raises(PartitionError, match="num_clients=1001 and 1000 samples"):
        dirichlet(LABELS, 1001, 1.0, np.random.default_rng(0), min_partition_size=0)
