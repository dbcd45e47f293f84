from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.native import disabled
from fedcore.strategies import distances
from fedcore.strategies.distances import bounds, least_scores, scores, squared_distances


@pytest.fixture(scope="module", autouse=True, params=["compiled", "torch"])
def products(request) -> Iterator[None]:
    """All hold for the products of either, and where there is no compiler twice for torch's."""
    with disabled("gram") if request.param == "torch" else contextlib.nullcontext():
        yield


def oracle(rows: torch.Tensor, neighbours: int) -> np.ndarray:
    """Scores by differences of all pairs, in float64."""
    wide = rows.double().numpy()
    gaps = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    np.fill_diagonal(gaps, math.inf)
    return np.sort(gaps, axis=1)[:, :neighbours].sum(axis=1)


def same_choice(rows: torch.Tensor, neighbours: int, count: int) -> None:
    """The chosen are the best by the oracle, up to what float64 itself cannot tell apart."""
    chosen, exact = least_scores(rows, neighbours, count), oracle(rows, neighbours)
    assert len(set(chosen)) == count
    assert exact[chosen].sum() <= np.sort(exact)[:count].sum() * (1 + 1e-12)


def test_scores_by_hand() -> None:
    line = torch.tensor([[0.0], [1.0], [1.5], [2.2], [100.0]], dtype=torch.float64)
    own = torch.arange(5)
    made = scores(squared_distances(line, own, line[0]), own, 2)
    assert scores(squared_distances(line, own[2:3], line[4]), own[2:3], 2).item() == (
        pytest.approx(0.74)
    )
    assert made.tolist() == pytest.approx([3.25, 1.25, 0.74, 1.93, 97.8**2 + 98.5**2])


@given(
    st.integers(0, 2**31),
    st.integers(3, 12),
    st.sampled_from([1, 7, 600, 1300]),
    st.sampled_from([0.0, 1.0, 1e2, 1e4, 1e6]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_choice_is_that_of_float64_beside_any_common_part(
    seed, size, width, offset, dtype
) -> None:
    """Plain float32 products choose wrongly from an offset of about 1e2 on."""
    generator = np.random.default_rng(seed)
    rows = offset * generator.standard_normal(width) + generator.standard_normal((size, width))
    same_choice(torch.from_numpy(rows).to(dtype), max(size - 4, 1), 1 + seed % (size - 1))


def test_one_huge_row_does_not_blind_the_choice() -> None:
    rows = torch.randn(9, 700, generator=torch.Generator().manual_seed(0))
    for huge in (1e3, 1e9, 1e25, 1e37):  # the last two overflow in products of float32
        attacked = rows.clone()
        attacked[0] *= huge
        same_choice(attacked, 4, 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_not_finite_costs_no_second_pass(value, monkeypatch) -> None:
    monkeypatch.setattr(distances, "squared_distances", None)
    rows = torch.randn(9, 700, generator=torch.Generator().manual_seed(0))
    best = least_scores(rows, 4, 1)
    rows[best[0], 3] = value
    assert best[0] not in least_scores(rows, 4, 8)


@pytest.mark.parametrize("length", [1e19, 1e30])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_not_finite_does_not_win_where_products_overflow(length, value) -> None:
    """Squares of 1e19 leave float32, so that no upper bound of the rows is finite."""
    rows = length * torch.tensor([[1.0], [3.0], [3.5], [9.0]])
    rows[0, 0] = value
    assert least_scores(rows, 1, 1) == [1]


def test_ordinary_rows_need_no_second_pass_and_near_ties_do(monkeypatch) -> None:
    rows = torch.randn(50, 20_000, generator=torch.Generator().manual_seed(1))
    same_choice(rows, 25, 1)
    expected = least_scores(rows, 25, 1)
    monkeypatch.setattr(distances, "squared_distances", None)
    assert least_scores(rows, 25, 1) == expected
    rows[17] = rows[expected[0]]
    rows[17, 0] += 1e-6
    with pytest.raises(TypeError):
        least_scores(rows, 25, 1)


@given(
    st.integers(0, 2**31),
    st.integers(2, 19),
    st.sampled_from([3, 511, 512, 513, 2000]),
    st.floats(0, 1e3),
)
def test_bounds_hold(seed, size, width, offset) -> None:
    """Also where symmetry tells a part of the products: at sizes that are no multiple of a tile."""
    generator = np.random.default_rng(seed)
    rows = torch.from_numpy((generator.standard_normal((size, width)) + offset).astype(np.float32))
    low, high = bounds(rows)
    exact = rows.double()
    exact = ((exact[:, None] - exact[None]) ** 2).sum(dim=2)
    apart = ~torch.eye(size, dtype=torch.bool)
    assert bool((low <= exact)[apart].all())
    assert bool((high >= exact)[apart].all())
    assert bool((high - low <= 1e-3 * (exact + width * (offset + 3) ** 2))[apart].all()), "useful"


@given(
    st.integers(0, 2**31),
    st.integers(2, 12),
    st.sampled_from([3, 513, 2000]),
    st.floats(0, 1e5),
)
def test_bounds_by_differences_hold_and_a_common_part_costs_no_digits(
    seed, size, width, offset
) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((size, width)) + offset * generator.standard_normal(width)
    rows = torch.from_numpy(rows.astype(np.float32))
    found = distances.centred_bounds(rows, rows[seed % size])
    if distances.inner_products(rows) is None:
        assert found is None
        return
    exact = rows.double()
    exact = ((exact[:, None] - exact[None]) ** 2).sum(dim=2)
    assert bool((found[0] <= exact).all())
    assert bool((found[1] >= exact).all())
    assert bool((found[1] - found[0] <= 1e-4 * (exact + 9 * width)).all()), "useful"


def test_differences_in_slices_and_of_what_is_not_finite(monkeypatch) -> None:
    monkeypatch.setattr(distances, "_SLICE", 300)
    rows = torch.randn(9, 1000, generator=torch.Generator().manual_seed(4)) + 1e4
    rows[2], rows[5, 999] = 3e38, math.nan
    same_choice(rows[[0, 1, 3, 4, 6, 7, 8]], 3, 2)
    chosen = least_scores(rows, 5, 7)
    assert chosen == [0, 1, 3, 4, 6, 7, 8]
    for centre in (2, 5):  # neither is of use as one, and no harm is done
        found = distances.centred_bounds(rows, rows[centre])
        if found is not None:
            assert bool((found[0][0, 1:5:2] == 0).all())
            assert bool((found[1][0, 1:5:2] == math.inf).all())


def test_strided_rows_and_short_batches(monkeypatch) -> None:
    wide = torch.randn(6, 3000, generator=torch.Generator().manual_seed(2))
    rows = wide[:, :2777]
    whole = [matrix.clone() for matrix in bounds(rows)]
    monkeypatch.setattr(distances, "_BATCH", 2)
    monkeypatch.setattr(distances, "_CHUNK", 999)
    for one, other in zip(bounds(rows), whole, strict=True):
        for matrix in (one, other):
            matrix.fill_diagonal_(0)  # a row's distance to itself is nothing but the bound
        torch.testing.assert_close(one, other, rtol=1e-4, atol=0)  # the bounds depend on it
    middle = torch.stack(whole).mean(dim=0)
    torch.testing.assert_close(
        squared_distances(rows, torch.arange(6), rows[1]), middle, atol=0.5, rtol=0
    )


def test_reduced_precision_products_are_not_trusted() -> None:
    rows = torch.randn(5, 600, generator=torch.Generator().manual_seed(3))
    width = [float((high - low)[0, 1]) for low, high in [bounds(rows)]]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        low, high = bounds(rows)
    finally:
        torch.set_float32_matmul_precision(before)
    assert float((high - low)[0, 1]) < 1e-6 * width[0]
