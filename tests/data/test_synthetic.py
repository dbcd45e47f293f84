from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Scenario
from fedcore.data.loading import load
from fedcore.errors import DataError, ScenarioError


@settings(max_examples=20, deadline=None)
@given(size=st.integers(10, 3000))
def test_size_and_balance(size: int) -> None:
    dataset = load(f"synthetic:{size}")
    assert dataset.train.images.shape == (size, 8, 8, 1)
    assert dataset.test.images.shape == (1000, 8, 8, 1)
    counts = torch.bincount(dataset.train.labels, minlength=10)
    assert int(counts.max() - counts.min()) <= 1
    assert dataset.num_classes == 10


def test_test_set_does_not_depend_on_the_size() -> None:
    small, large = load("synthetic:100"), load("synthetic:5000")
    assert torch.equal(small.test.images, large.test.images)
    assert torch.equal(small.test.labels, large.test.labels)
    assert small.digest != large.digest


def test_nearest_class_mean_is_right_nine_times_in_ten() -> None:
    dataset = load("synthetic:5000")
    train, test = (s.images.flatten(1).float() for s in (dataset.train, dataset.test))
    means = torch.stack([train[dataset.train.labels == k].mean(0) for k in range(10)])
    right = torch.cdist(test, means).argmin(1) == dataset.test.labels
    assert 0.85 < float(right.float().mean()) < 0.95


@pytest.mark.parametrize("size", ["", "9", "5000001", "-10", "1e4", "x", "10.0", "²0", "9" * 5000])
def test_bad_sizes(size: str) -> None:
    for error, attempt in ((ScenarioError, lambda n: Scenario(dataset=n)), (DataError, load)):
        with pytest.raises(error, match=r"whole number in \[10, 5000000\]"):
            attempt(f"synthetic:{size}")
