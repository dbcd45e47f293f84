from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario
from fedcore.errors import PartitionError
from fedcore.partition.quantity import quantity


class Fixed:
    """A generator whose normal numbers are given and whose permutation is the order itself."""

    def __init__(self, normal: list[float]) -> None:
        self.normal = np.array(normal)

    def standard_normal(self, size: int) -> np.ndarray:
        assert size == len(self.normal)
        return self.normal

    def permutation(self, n: int) -> np.ndarray:
        return np.arange(n)


def test_by_hand() -> None:
    # 23 samples, of which each client gets 1 first; weights 1, 2 and 6. Of the other 20 their
    # shares are 2.22, 4.44 and 13.33: the fraction of 4.44 is the largest
    normal = [0.0, np.log(2) / 2, np.log(6) / 2]
    parts = quantity(np.zeros(23), 3, 2.0, Fixed(normal), smallest=1)
    assert [len(part) for part in parts] == [3, 6, 14]
    assert np.concatenate(parts).tolist() == list(range(23))


@given(
    st.integers(1, 12), st.integers(0, 200), st.floats(0, 5), st.integers(1, 4),
    st.integers(0, 2**31),
)  # fmt: skip
def test_every_sample_goes_to_one_client_and_none_is_below_the_smallest(
    clients: int, more: int, sigma: float, smallest: int, seed: int
) -> None:
    n = clients * smallest + more
    parts = quantity(np.zeros(n), clients, sigma, np.random.default_rng(seed), smallest=smallest)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(parts) == clients
    assert min(map(len, parts)) >= smallest


@given(st.integers(1, 20), st.integers(40, 200), st.integers(0, 2**31))
def test_sigma_0_gives_equal_sizes(clients: int, n: int, seed: int) -> None:
    parts = quantity(np.zeros(n), clients, 0.0, np.random.default_rng(seed))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_sizes_are_log_normal_and_labels_are_not_skewed() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400_000)
    parts = quantity(labels, 2000, 0.7, rng, smallest=1)
    sizes = np.array([len(part) for part in parts])
    # minus the one that each has; deviation of the standard error 0.7 / sqrt(4000)
    logs = np.log(np.maximum(sizes - 1, 1))
    assert abs(logs.std() - 0.7) < 0.05
    assert abs(((logs - logs.mean()) ** 3).mean() / logs.std() ** 3) < 0.25
    large = max(parts, key=len)
    shares = np.bincount(labels[large], minlength=10) / len(large)
    assert abs(shares - 0.1).max() < 5 * np.sqrt(0.09 / len(large))


def test_a_huge_sigma_neither_overflows_nor_starves_anybody() -> None:
    parts = quantity(np.zeros(100), 5, 1e4, np.random.default_rng(0))
    assert sorted(map(len, parts)) == [2, 2, 2, 2, 92]


def test_too_many_clients_are_refused() -> None:
    with pytest.raises(PartitionError, match=r"got 10 \* 2 > 19: lower num_clients or smallest"):
        quantity(np.zeros(19), 10, 1.0, np.random.default_rng(0))


def test_its_name_has_sigma() -> None:
    assert Scenario(partition="quantity").id == "fedavg-quantity1-clean"
    assert Scenario(partition="quantity(sigma=0.5)").id == "fedavg-quantity0.5-clean"
