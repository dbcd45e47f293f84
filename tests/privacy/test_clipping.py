"""Clipping: inside the ball nothing changes, outside the length becomes the norm."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.privacy.clipping import clip_rows, sensitivity


def test_by_hand() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [0.6, 0.8]])
    clipped, long, broken = clip_rows(rows, 1.0)
    wanted = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(clipped, wanted, atol=1e-7, rtol=0)
    assert long[:3].tolist() == [True, False, False]
    assert not broken.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_becomes_zero(bad) -> None:
    clipped, long, broken = clip_rows(torch.tensor([[bad, 1.0], [2.0, 0.0]]), 1.0)
    assert clipped.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert broken.tolist() == [True, False]
    assert long.tolist() == [False, True]


@given(
    st.lists(
        st.lists(st.floats(width=32), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.floats(1e-6, 1e6),
)
def test_nothing_leaves_the_ball_whatever_comes_in(rows, norm) -> None:
    clipped, _, _ = clip_rows(torch.tensor(rows, dtype=torch.float32), norm)
    assert bool(torch.isfinite(clipped).all())
    assert bool((clipped.norm(dim=1) <= norm * (1 + 1e-12)).all())


def test_huge_float64_rows_keep_their_direction() -> None:
    clipped, long, broken = clip_rows(torch.tensor([[3e200, 4e200]], dtype=torch.float64), 1.0)
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8]], dtype=torch.float64))
    assert long.all()
    assert not broken.any()


def test_sensitivity_is_of_the_relation_and_the_norm() -> None:
    assert sensitivity("replace", 0.5) == 1.0
    assert sensitivity("zero-out", 0.5) == 0.5
