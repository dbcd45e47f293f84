"""FLAME: the cluster, the median length and the noise; conventions; planted bugs."""

from __future__ import annotations

import ast
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.robust import flame
from fedcore.strategies.robust.flame import Flame, first_majority, majority

NAN, INF = float("nan"), float("inf")
SMALL = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=7, fraction_train=1.0, rounds=3,
    strategy="flame", local_epochs=(1, 3),
)  # fmt: skip


def stepped(sent, memory=None, factor: float = 0.0) -> torch.Tensor:
    rule = Flame(noise_factor=factor)
    return rule.step(sent.updates, sent, Memory() if memory is None else memory)


def turned(*degrees: float) -> list[list[float]]:
    return [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees]


def distances(rows: np.ndarray) -> np.ndarray:
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gaps = np.maximum(1 - units @ units.T, 0)
    np.fill_diagonal(gaps, 0)
    return gaps


def test_by_hand(cohort) -> None:
    # directions 0, 10, 21, 120, 240 degrees: the first three come together first, at 11 degrees;
    # lengths 1, 4, 2, 9, 3, of median 3
    rows = torch.tensor(turned(0, 10, 21, 120, 240), dtype=torch.float64)
    rows *= torch.tensor([1.0, 4.0, 2.0, 9.0, 3.0])[:, None]
    memory = Memory()
    made = stepped(cohort(rows, samples=(1, 1, 1, 1, 996)), memory)
    torch.testing.assert_close(made, (rows[0] + rows[1] * 3 / 4 + rows[2]) / 3)
    assert memory.noted is not None
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 4, 1 / 3, 0, 0))
    assert memory.noted.passes[0][1] == pytest.approx(1 - math.cos(math.radians(10)))
    assert memory.noted.passes[5] == pytest.approx((1, 4, 2, 9, 3))


def test_the_median_is_of_all_updates_and_of_an_even_number_the_middle(cohort) -> None:
    rows = torch.tensor(turned(0, 1, 2, 180), dtype=torch.float64)
    rows *= torch.tensor([1.0, 2.0, 8.0, 6.0])[:, None]  # of the admitted 2, of all 4
    memory = Memory()
    stepped(cohort(rows), memory)
    assert memory.noted is not None
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 3, 1 / 6, 0))


def test_hardly_more_than_half_is_admitted_where_nobody_attacks(cohort) -> None:
    # six of seven lie a degree or so apart, and the first four to come together are the cluster
    memory = Memory()
    stepped(cohort(turned(0, 1, 2.1, 3.3, 4.6, 6.0, 7.5)), memory)
    assert memory.noted is not None
    assert [c > 0 for c in memory.noted.coefficients] == [True] * 4 + [False] * 3


def test_distances_are_of_updates_not_of_models() -> None:
    rows = np.array(turned(0, 10, 20, 90, 180))
    far = distances(rows + np.array([0.0, 1e4]))  # the same updates on a model of length 10,000
    assert distances(rows).max() == pytest.approx(2.0)
    assert far.max() < 1e-7


@given(st.integers(0, 2**31), st.integers(3, 14), st.integers(0, 3))
def test_hdbscan_admits_the_first_majority_of_single_linkage(seed, size, twins) -> None:
    rows = np.random.default_rng(seed).standard_normal((size, 3))
    rows[: min(twins, size)] = rows[0]
    gaps, least = distances(rows), size // 2 + 1
    admitted = np.zeros(size, bool)
    admitted[majority(gaps, least)] = True
    surely, perhaps = first_majority(gaps, np.ones(size, bool), least)
    assert admitted.sum() >= least
    assert not (surely & ~admitted).any()
    assert not (admitted & ~perhaps).any()
    if twins < 2:
        np.testing.assert_array_equal(surely, perhaps)


@given(st.integers(0, 2**31), st.floats(0.25, 4.0))
def test_properties(cohort, seed, scale) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((7, 4)))
    made = stepped(cohort(rows))
    torch.testing.assert_close(stepped(cohort(scale * rows)), scale * made)
    order = np.random.default_rng(seed).permutation(7)
    torch.testing.assert_close(stepped(cohort(rows[order])), made)
    assert float(made.norm()) <= float(rows.norm(dim=1).median()) * (1 + 1e-9)


@given(st.integers(0, 2**31), st.floats(1.0, 1e9))
def test_a_minority_of_any_length_is_no_longer_than_an_honest_update(cohort, seed, far) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((7, 4)))
    longest = rows[3:].norm(dim=1).max()
    rows[:3] *= far
    assert float(stepped(cohort(rows)).norm()) <= longest * (1 + 1e-9)


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_is_not_admitted(cohort, bad, dtype) -> None:
    rows = torch.tensor(turned(0, 10, 20, 90, 180), dtype=dtype)
    rows[4, 1] = bad
    memory = Memory()
    made = stepped(cohort(rows), memory)
    torch.testing.assert_close(made, rows[:3].mean(dim=0))
    assert made.dtype == dtype
    assert memory.noted is not None
    assert memory.noted.coefficients[3:] == (0, 0)
    rows[2:, 0] = bad  # two of five are no majority
    assert stepped(cohort(rows), factor=1.0).tolist() == [0, 0]


def test_updates_of_zero(cohort) -> None:
    assert stepped(cohort([[0.0, 0.0]] * 3), factor=1.0).tolist() == [0, 0]
    assert stepped(cohort([[0.0, 0.0]] * 2 + [[1.0, 0.0]] * 3)).tolist() == [1, 0]


def test_noise_is_of_the_median_length_the_seed_and_the_round(cohort) -> None:
    rows = torch.randn(5, 20_000, generator=torch.Generator().manual_seed(0))

    def noise(seed: int, round: int, factor: float) -> torch.Tensor:
        memory = Memory()
        memory.seed, memory.round = seed, round
        return stepped(cohort(rows), memory, factor) - stepped(cohort(rows))

    one = noise(1, 1, 0.1)
    median = float(rows.double().norm(dim=1).median())
    assert float(one.std()) == pytest.approx(0.1 * median, rel=0.02)
    assert abs(float(one.mean())) < 4 * 0.1 * median / math.sqrt(20_000)
    assert torch.equal(noise(1, 1, 0.1), one)
    for other in (noise(2, 1, 0.1), noise(1, 2, 0.1)):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.03
    torch.testing.assert_close(noise(1, 1, 0.2), 2 * one, rtol=1e-4, atol=1e-3)


def test_fewer_than_three_are_refused() -> None:
    with pytest.raises(ScenarioError, match="majority of 3 updates or more, got 2"):
        SMALL.but(fraction_train=0.3)
    with pytest.raises(ScenarioError, match="got 2 rows of 7 clients"):
        SMALL.but(preaggregation="bucketing(size=4)")


def test_a_run_is_checked_round_by_round() -> None:
    for factor in (0.0, 0.01):
        identity = run(SMALL.but(noise_factor=factor), device="cpu").audit.identity
        assert identity.rounds_checked == identity.rounds_due == identity.rounds_differing == 3


def test_scikit_learn_is_imported_when_it_is_needed() -> None:
    module = ast.parse(Path(flame.__file__).read_text(encoding="utf-8"))
    at_once = [
        ast.unparse(node) for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not [line for line in at_once if "sklearn" in line]
    assert [n for n in ast.walk(module) if isinstance(n, ast.ImportFrom) and "sklearn" in n.module]


REAL = Flame.step


def noted_otherwise(memory, coefficients) -> None:
    memory.noted = dataclasses.replace(memory.noted, coefficients=tuple(coefficients))


def all_admitted(self, updates, cohort, memory):
    REAL(self, updates, cohort, memory)
    norms = updates.double().norm(dim=1)
    shares = (norms.median() / norms).clamp(max=1) / len(updates)
    noted_otherwise(memory, shares.tolist())
    return shares.to(updates) @ updates


def unclipped(self, updates, cohort, memory):
    REAL(self, updates, cohort, memory)
    chosen = torch.tensor(memory.noted.coefficients, dtype=torch.float64) > 0
    shares = chosen.double() / chosen.sum()
    noted_otherwise(memory, shares.tolist())
    return shares.to(updates) @ updates


def without_noise(self, updates, cohort, memory):
    return REAL(Flame(noise_factor=0.0), updates, cohort, memory)


def noise_of_round_one(self, updates, cohort, memory):
    memory.round = 1
    return REAL(self, updates, cohort, memory)


def of_other_rows(self, updates, cohort, memory):
    return REAL(self, updates.roll(1, dims=0), cohort, memory)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (all_admitted, r"it admits row \d from outside the majority"),
        (unclipped, "it weighs row .* where the median length"),
        (without_noise, "does not step by the clipped updates"),
        (noise_of_round_one, "does not step by the clipped updates"),
        (of_other_rows, "it takes row|it takes rows"),
        (FedAvg.step, "equals FedAvg's, the sample-weighted mean"),
    ],
)
def test_planted_steps_are_not_flame(monkeypatch, step, reason) -> None:
    monkeypatch.setattr(Flame, "step", step)
    scenario = SMALL.but(noise_factor=0.05, partition="dirichlet", alpha=0.3, min_partition_size=8)
    with pytest.raises(IdentityError, match=reason):
        run(scenario, device="cpu")


def test_another_cluster_is_named(monkeypatch) -> None:
    monkeypatch.setattr(flame, "majority", lambda gaps, least: list(range(least)))
    scenario = SMALL.but(partition="dirichlet", alpha=0.3, min_partition_size=8)
    with pytest.raises(IdentityError, match=r"it (leaves out|admits) row"):
        run(scenario, device="cpu")
