from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.federation.batches import batch_bounds, local_steps


@given(st.integers(1, 5000), st.integers(1, 300))
def test_batches_cover_all_samples_once_in_order(samples, size) -> None:
    bounds = batch_bounds(samples, size)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == samples
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(bounds))
    lengths = [stop - start for start, stop in bounds]
    assert all(length == size for length in lengths[:-1])
    assert 1 <= lengths[-1] <= size + 1
    if samples > 1 and size > 1:
        assert min(lengths) > 1


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (8, 4, [(0, 4), (4, 8)]),
        (9, 4, [(0, 4), (4, 9)]),  # the last one joins
        (5, 4, [(0, 5)]),
        (1, 4, [(0, 1)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (0, 4, []),
    ],
)
def test_by_hand(samples, size, expected) -> None:
    assert batch_bounds(samples, size) == expected


def test_steps_by_hand() -> None:
    assert local_steps(samples=10, epochs=3, batch_size=4) == 9
    assert local_steps(samples=9, epochs=3, batch_size=4) == 6  # the last sample makes no batch
