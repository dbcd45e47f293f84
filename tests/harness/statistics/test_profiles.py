"""Performance profiles by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.harness.statistics.profiles import profiles


def test_two_arms_by_hand() -> None:
    # means by cell: 90, 70, 50 against 88, 71, 60: gaps 0, 1, 10 and 2, 0, 0
    values = np.array([[[90.0, 70.0, 50.0], [88.0, 71.0, 60.0]]])
    first, second = profiles(values, (0.0, 1.0, 2.0, 9.9, 10.0))
    assert first.gaps == (0.0, 1.0, 10.0)
    assert second.gaps == (2.0, 0.0, 0.0)
    assert first.share == pytest.approx((1 / 3, 2 / 3, 2 / 3, 2 / 3, 1))
    assert second.share == pytest.approx((2 / 3, 2 / 3, 1, 1, 1))
    assert first.low is first.high is None  # a single seed bounds nothing


def test_equal_seeds_leave_no_doubt() -> None:
    values = np.array([[[90.0, 70.0], [88.0, 71.0]]] * 3)
    for profile in profiles(values, (0.0, 1.5)):
        assert profile.low == profile.high == profile.share


def test_the_best_arm_is_sought_in_every_resample() -> None:
    # two seeds with opposite orders: each arm is best in all cells, or in none
    values = np.array([[[90.0], [80.0]], [[80.0], [90.0]]])
    for profile in profiles(values, (0.0,)):
        assert profile.share == (1.0,)  # equal means: both are the best
        assert (profile.low, profile.high) == ((0.0,), (1.0,))


@settings(max_examples=25)
@given(st.integers(2, 4), st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_properties(seeds: int, arms: int, cells: int, random: np.random.RandomState) -> None:
    values = np.array(
        [[[random.randint(0, 9) for _ in range(cells)] for _ in range(arms)] for _ in range(seeds)],
        dtype=np.float64,
    )
    found = profiles(values, (0.0, 1.0, 100.0))
    shares = np.array([profile.share for profile in found])
    assert (np.diff(shares, axis=1) >= 0).all()  # farther takes in more
    assert (shares[:, -1] == 1).all()
    assert shares[:, 0].sum() >= 1 - 1e-12  # every cell has a best arm
    for profile in found:
        assert profile.low is not None
        assert profile.high is not None
        assert all(low <= high for low, high in zip(profile.low, profile.high, strict=True))
    # neither the order of the seeds nor a level that all arms share changes anything
    assert profiles(values[::-1], (0.0, 1.0, 100.0)) == found
    lifted = profiles(values + np.arange(cells), (0.0, 1.0, 100.0))
    assert [p.share for p in lifted] == [p.share for p in found]


def test_what_is_refused() -> None:
    for values, within in ((np.ones((2, 2)), (0.0,)), (np.ones((1, 1, 1)), (-1.0,))):
        with pytest.raises(ValueError, match="are needed"):
            profiles(values, within)
    with pytest.raises(ValueError, match="finite"):
        profiles(np.full((2, 2, 2), np.nan), (0.0,))
