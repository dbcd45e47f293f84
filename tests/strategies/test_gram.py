"""Inner products by the compiled kernel, against float64."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedcore.native import gram
from fedcore.native.compiler import compiler
from fedcore.native.gram import inner_products
from fedcore.scenario import Scenario
from fedcore.strategies import distances
from fedcore.strategies.distances import bounds, least_scores
from fedcore.strategies.multikrum import MultiKrum

ROOT = Path(__file__).resolve().parents[2]
needs_kernel = pytest.mark.skipif(
    compiler() is None or not torch.cpu._is_avx2_supported(), reason="needs a compiler and AVX2"
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No kernel is remembered from another test, and none for another."""
    gram._kernel.cache_clear()
    yield
    gram._kernel.cache_clear()


@pytest.fixture(params=["AVX-512", "AVX2"])
def processor(request, monkeypatch) -> None:
    """Both shapes of the kernel, where the machine can run them."""
    if request.param == "AVX2":
        monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: False)
    elif not torch.cpu._is_avx512_supported():
        pytest.skip("needs AVX-512")


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
def test_small_integers_come_out_exactly(width: int, monkeypatch) -> None:
    """A number that is counted twice, or not, or of another row, cannot hide in a bound."""
    monkeypatch.setattr(gram, "_SEGMENT", 512)
    for size in (1, 2, 3, 5, 6, 11, 50):
        rows = torch.randint(-3, 4, (size, width), generator=torch.Generator().manual_seed(size))
        assert torch.equal(inner_products(rows.float())[0], rows.double() @ rows.double().T)


@needs_kernel
@pytest.mark.usefixtures("processor")
def test_rows_of_any_strides() -> None:
    wide = torch.randint(-3, 4, (14, 2077), generator=torch.Generator().manual_seed(2)).float()
    several = [wide[:, 3:1500], wide[::2, 1:], wide[:, ::3], wide.T[:9], wide[:1].expand(7, -1)]
    for rows in several:
        assert torch.equal(inner_products(rows)[0], rows.double() @ rows.double().T)


@needs_kernel
def test_the_number_of_threads_changes_no_bit(monkeypatch) -> None:
    monkeypatch.setattr(gram, "_SEGMENT", 1024)
    rows, before = normal(12, 9000), torch.get_num_threads()
    rows *= 10.0 ** (torch.arange(9000) // 512 * 5 % 13)  # or float64 adds up with no error at all
    made = []
    try:
        for threads in (1, 2, 3, 50):  # more than there are segments, too
            torch.set_num_threads(threads)
            made.append(inner_products(rows)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, made[0]) for one in made)
    assert within_bound(rows)
    monkeypatch.undo()
    assert not torch.equal(inner_products(rows)[0], made[0]), "the order of adding up shows"


@needs_kernel
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_no_threads_of_torch_are_woken() -> None:
    """They spin on for milliseconds, on the cores that the kernel's own threads need.

    In a process of its own, as torch starts them where it needs them first.
    """
    script = """
import os, time, numpy, torch
from fedcore.strategies.distances import least_scores
torch.set_num_threads(4)
rows = torch.from_numpy(numpy.random.default_rng(0).standard_normal((50, 200_000), "float32"))
def more():
    return len(os.listdir("/proc/self/task")) - before
before = 0
before = more()
least_scores(rows, 25, 1)
deadline = time.monotonic() + 30
while more() and time.monotonic() < deadline:  # a thread that was joined may be there for a moment
    time.sleep(0.01)
print(more(), end=" ")
torch.zeros(4, 100_000)
print(more())
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert told.stdout.split() == ["0", "3"], told.stderr


@needs_kernel
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_row(value: float) -> None:
    rows = normal(7, 700)
    rows[3, 650] = value
    made, _ = inner_products(rows)
    rest = torch.arange(7) != 3
    assert not made[3].isfinite().any()
    assert bool(made[rest][:, rest].isfinite().all())


@needs_kernel
def test_products_too_large_for_float32_are_not_finite() -> None:
    """Rather than wrong: the bounds then leave the row in doubt, whatever the sign."""
    rows = normal(5, 700)
    rows[1:3] *= 1e25
    rows[2] = -rows[1]
    low, high = bounds(rows)
    assert bool((low[1:3] == 0).all())
    assert bool((high[1:3] == math.inf).all())


def test_a_product_that_alone_is_not_finite_is_no_negative_distance(monkeypatch) -> None:
    """Two rows that are nearly the same may have a product just above what their norms are."""
    products = torch.tensor([[1e38, math.inf], [math.inf, 1e38]], dtype=torch.float64)
    monkeypatch.setattr(distances, "inner_products", lambda rows: (products, 1e-6))
    low, high = bounds(torch.ones(2, 1))
    assert (low[0, 1], high[0, 1]) == (0, math.inf)


def test_none_for_what_it_is_not_made_for(monkeypatch) -> None:
    rows = normal(5, 40)
    assert inner_products(rows.double()) is None
    assert inner_products(rows.bfloat16()) is None
    assert inner_products(rows.to("meta")) is None
    monkeypatch.setattr(gram, "library", lambda source: None)
    assert inner_products(rows) is None
    gram._kernel.cache_clear()
    monkeypatch.undo()
    for name in ("_is_avx512_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert inner_products(rows) is None


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_choice_is_the_same_without_a_compiler(monkeypatch, cohort, offset: float) -> None:
    rows = normal(13, 3000) + offset
    rows[7], rows[11, 5], rows[2] = rows[4], math.nan, 1e30
    sent = cohort(rows)
    scenario = Scenario(strategy="multikrum", num_clients=13, fraction_train=1.0)
    made = []
    for compiled in (inner_products, lambda rows: None):
        monkeypatch.setattr(distances, "inner_products", compiled)
        chosen = [least_scores(rows, 7, count) for count in range(1, 12)]
        made.append((chosen, MultiKrum(scenario).step(rows, sent, {}).tolist()))
    assert made[0] == made[1]
    assert not {2, 11} & set(made[0][0][-1])


@needs_kernel
def test_tight_bounds_spare_the_second_pass(monkeypatch) -> None:
    """Torch's products would leave a few rows in doubt, and all where they share a large part."""
    rows = normal(50, 20_000, seed=3)
    shared = rows + 100 * normal(1, 20_000, seed=4)
    assert least_scores(shared.double(), 25, 27) == least_scores(shared, 25, 27)
    expected = least_scores(rows, 25, 27)
    monkeypatch.setattr(distances, "squared_distances", None)
    assert least_scores(rows, 25, 27) == expected
    least_scores(shared, 25, 27)
    monkeypatch.setattr(distances, "inner_products", lambda rows: None)
    with pytest.raises(TypeError):
        least_scores(rows, 25, 27)
