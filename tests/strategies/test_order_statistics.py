from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from fedcore.native.selection_plan import plan
from fedcore.strategies import order_statistics
from fedcore.strategies.order_statistics import NETWORK_LIMIT, middle_mean

INF, NAN = math.inf, math.nan


def by_definition(rows: torch.Tensor, cut: int) -> torch.Tensor:
    """Sort, cut, average, in float64."""
    ordered = rows.double().sort(dim=0).values
    return ordered[cut : len(rows) - cut].mean(dim=0)


@st.composite
def matrices(draw):
    """Rows with many ties and magnitudes, float32 or float64, and a cut that leaves something."""
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 6)))
    width = draw(st.sampled_from([32, 64]))
    values = st.sampled_from([-1.0, 0.0, 1.0, 1e-30, 3e30]) | st.floats(-1e6, 1e6, width=32)
    dtype = np.float32 if width == 32 else np.float64
    rows = draw(stn.arrays(dtype, shape, elements=values))
    return torch.from_numpy(rows), draw(st.integers(0, (shape[0] - 1) // 2))


@given(matrices())
def test_equals_the_definition(drawn) -> None:
    rows, cut = drawn
    made, expected = middle_mean(rows, cut), by_definition(rows, cut)
    assert made.dtype == rows.dtype
    # the scale of what is summed, which may cancel
    size = rows.double().sort(dim=0).values[cut : len(rows) - cut].abs().amax(dim=0)
    error = (made.double() - expected).abs()
    kind = torch.finfo(rows.dtype)
    subnormal = kind.tiny * kind.eps  # half of the least one is rounded to none
    assert bool((error <= 20 * kind.eps * size + subnormal).all())


@pytest.mark.parametrize("size", [*range(1, 34), 49, 50, 63, 64, 65, NETWORK_LIMIT, 101, 1000])
def test_every_size_even_and_odd_and_every_kind_of_cut(size) -> None:
    rows = torch.randn(size, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    for cut in {0, 1, size // 5, (size - 1) // 2}:
        if 2 * cut < size:
            torch.testing.assert_close(middle_mean(rows, cut), by_definition(rows, cut))


@given(st.integers(1, 12), st.data())
def test_networks_select_every_pattern_of_zeros_and_ones(size, data) -> None:
    """The 0-1 principle: a network that selects these selects everything (Knuth, 5.3.4)."""
    cut = data.draw(st.integers(0, (size - 1) // 2))
    patterns = (torch.arange(2**size)[None, :] >> torch.arange(size)[:, None]) & 1
    rows = patterns.double()
    torch.testing.assert_close(middle_mean(rows, cut), by_definition(rows, cut))


def test_strided_rows_in_several_chunks_are_left_as_they_are(monkeypatch) -> None:
    wide = torch.randn(7, 1000, generator=torch.Generator().manual_seed(0))
    before, rows = wide.clone(), wide[:, :777]
    expected = by_definition(rows, 2).float()
    torch.testing.assert_close(middle_mean(rows, 2), expected)
    monkeypatch.setattr(order_statistics, "_NETWORK", 7 * 4 * 100)
    torch.testing.assert_close(middle_mean(rows, 2), expected)
    torch.testing.assert_close(middle_mean(wide.T[:, :7].T, 2)[:777], expected)
    assert torch.equal(wide, before)


@given(matrices(), st.integers(1, 3))
def test_the_width_of_a_chunk_changes_no_bit(drawn, wide) -> None:
    """The last chunk is narrower than the scratch rows, which hold what the one before left."""
    rows, cut = drawn[0].repeat(1, 12), drawn[1]
    whole = middle_mean(rows, cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_statistics, "_NETWORK", 16 * wide * len(rows) * rows.element_size())
        assert torch.equal(middle_mean(rows, cut), whole)


@pytest.mark.parametrize("limit", [NETWORK_LIMIT, 0], ids=["network", "sorting"])
def test_what_is_not_finite_is_cut_off(limit, monkeypatch) -> None:
    """0 1 2 3 4 with one value replaced: NaN, 1 2 3 4 keeps 2 3 4; -inf 0 1 3 4 keeps 0 1 3."""
    monkeypatch.setattr(order_statistics, "NETWORK_LIMIT", limit)
    rows = torch.arange(5.0, dtype=torch.float64)[:, None].repeat(1, 4)
    rows[0, 0], rows[1, 1], rows[2, 2] = NAN, INF, -INF
    assert middle_mean(rows, 1).tolist() == pytest.approx([3.0, 3.0, 4 / 3, 2.0])


@pytest.mark.parametrize("limit", [NETWORK_LIMIT, 0], ids=["network", "sorting"])
def test_too_many_values_that_are_not_finite_show(limit, monkeypatch) -> None:
    monkeypatch.setattr(order_statistics, "NETWORK_LIMIT", limit)
    rows = torch.ones(5, 3)
    rows[:3, 0], rows[:3, 1] = NAN, -INF
    assert middle_mean(rows, 2).tolist() == [INF, -INF, 1.0]


@given(st.integers(3, 9), st.integers(0, 2**31))
def test_a_nan_counts_as_plus_infinity(size, seed) -> None:
    generator = np.random.default_rng(seed)
    rows = torch.from_numpy(generator.standard_normal((size, 5)))
    holes = torch.from_numpy(generator.random((size, 5)) < 0.2)
    cut = (size - 1) // 2
    with_nan, with_inf = rows.masked_fill(holes, NAN), rows.masked_fill(holes, INF)
    assert torch.equal(middle_mean(with_nan, cut), middle_mean(with_inf, cut))


def test_a_network_takes_far_fewer_operations_than_all_pairs() -> None:
    assert len(plan(50, 24).operations) == 528
    assert len(plan(50, 10).operations) == 624
    assert plan(50, 24).scratch <= 52, "as much again as the rows: what a chunk is sized for"


def test_no_coordinates() -> None:
    assert middle_mean(torch.empty(5, 0), 1).shape == (0,)
