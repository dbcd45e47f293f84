"""Distances and choices that rest on compiled inner products."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fedcore.native import disabled
from fedcore.native.compiler import compiler
from fedcore.scenario import Scenario
from fedcore.strategies import distances
from fedcore.strategies.distances import bounds, least_scores

ROOT = Path(__file__).resolve().parents[2]
needs_kernel = pytest.mark.skipif(
    compiler() is None or not torch.cpu._is_avx2_supported(), reason="needs a compiler and AVX2"
)


def normal(size: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


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


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_choice_is_the_same_without_a_compiler(cohort, offset: float) -> None:
    rows = normal(13, 3000) + offset
    rows[7], rows[11, 5], rows[2] = rows[4], math.nan, 1e30
    sent = cohort(rows)
    scenario = Scenario(strategy="multikrum", num_clients=13, fraction_train=1.0)
    made = []
    for without in (contextlib.nullcontext(), disabled("gram")):
        with without:
            chosen = [least_scores(rows, 7, count) for count in range(1, 12)]
            made.append((chosen, scenario.parts.strategy.step(rows, sent, {}).tolist()))
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
    with disabled("gram"), pytest.raises(TypeError):
        least_scores(rows, 25, 27)
