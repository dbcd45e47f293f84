"""Inner products by the compiled kernel, against float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedcore.native import disabled
from fedcore.native.compiler import compiler
from fedcore.native.gram import inner_products

ROOT = Path(__file__).resolve().parents[2]
needs_kernel = pytest.mark.skipif(
    compiler() is None or not torch.cpu._is_avx2_supported(), reason="needs a compiler and AVX2"
)


def normal(size: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


def within_bound(rows: torch.Tensor) -> bool:
    """Whether the products are symmetric and err by no more than they say, which is not much."""
    made, gamma = inner_products(rows)
    exact = rows.double() @ rows.double().T  # its own error, of 1e-13, is lost in gamma's
    lengths = exact.diagonal().sqrt()
    allowed = gamma * lengths[:, None] * lengths[None, :] + rows.shape[1] * 2.0**-126
    assert torch.equal(made, made.T)
    assert gamma < 1e-5
    return bool(((made - exact).abs() <= allowed).all())


@needs_kernel
@pytest.mark.usefixtures("processor")
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 23),
    width=st.sampled_from([1, 15, 16, 17, 511, 512, 513, 1024, 1100, 2561]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    scale=st.sampled_from([1e-22, 1.0, 1e13]),
)
@example(seed=0, size=50, width=1537, offset=0.0, scale=1.0)  # as many tiles as rows, and more
def test_products_err_by_no_more_than_they_say(seed, size, width, offset, scale) -> None:
    generator = np.random.default_rng(seed)
    numbers = (generator.standard_normal((size, width)) + offset) * scale
    assert within_bound(torch.from_numpy(numbers.astype(np.float32)))


@needs_kernel
@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("width", [0, 5, 512, 1300])
def test_small_integers_come_out_exactly(width: int) -> None:
    """A number that is counted twice, or not, or of another row, cannot hide in a bound."""
    for size in (1, 2, 3, 5, 6, 11, 50):
        rows = torch.randint(-3, 4, (size, width), generator=torch.Generator().manual_seed(size))
        assert torch.equal(inner_products(rows.float(), 512)[0], rows.double() @ rows.double().T)


@needs_kernel
@pytest.mark.usefixtures("processor")
def test_rows_of_any_strides() -> None:
    wide = torch.randint(-3, 4, (14, 2077), generator=torch.Generator().manual_seed(2)).float()
    several = [wide[:, 3:1500], wide[::2, 1:], wide[:, ::3], wide.T[:9], wide[:1].expand(7, -1)]
    for rows in several:
        assert torch.equal(inner_products(rows)[0], rows.double() @ rows.double().T)


@needs_kernel
def test_the_number_of_threads_changes_no_bit() -> None:
    rows, before = normal(12, 9000), torch.get_num_threads()
    rows *= 10.0 ** (torch.arange(9000) // 512 * 5 % 13)  # or float64 adds up with no error at all
    made = []
    try:
        for threads in (1, 2, 3, 50):  # more than there are segments, too
            torch.set_num_threads(threads)
            made.append(inner_products(rows, 1024)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, made[0]) for one in made)
    assert within_bound(rows)
    assert not torch.equal(inner_products(rows)[0], made[0]), "the order of adding up shows"


@needs_kernel
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_row(value: float) -> None:
    rows = normal(7, 700)
    rows[3, 650] = value
    made, _ = inner_products(rows)
    rest = torch.arange(7) != 3
    assert not made[3].isfinite().any()
    assert bool(made[rest][:, rest].isfinite().all())


def test_none_for_what_it_is_not_made_for(monkeypatch) -> None:
    rows = normal(5, 40)
    assert inner_products(rows.double()) is None
    assert inner_products(rows.bfloat16()) is None
    assert inner_products(rows.to("meta")) is None
    with disabled("gram"):
        assert inner_products(rows) is None
    for name in ("_is_avx512_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert inner_products(rows) is None
