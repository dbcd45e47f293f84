from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore import run
from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from fedcore.strategies.robust import weakdp
from fedcore.strategies.robust.normclipping import NormClipping
from fedcore.strategies.robust.weakdp import WeakDP, gaussian_noise

BASE = Scenario(strategy="weakdp", num_clients=3, fraction_train=1.0, noise_std=0.5)
ROWS = [[0.3, 0.4], [3.0, 4.0], [0.0, -2.0]]


def test_by_hand(held) -> None:
    """Clipped to 1: (0.3, 0.4), (0.6, 0.8), (0, -1), of weights 1/4, 1/4, 1/2."""
    noise = gaussian_noise(Memory(), 2)
    memory = Memory()
    memory.round = 1
    drawn = [0.5 * float(value) for value in gaussian_noise(memory, 2)]
    step, kept = held(BASE, ROWS, samples=[1, 1, 2])
    assert step.tolist() == pytest.approx([0.225 + drawn[0], -0.2 + drawn[1]])
    assert kept.noted.coefficients == pytest.approx((0.25, 0.05, 0.25))
    assert noise.tolist() != drawn


@given(st.integers(0, 2**31))
def test_without_noise_it_is_norm_clipping(cohort, seed) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((4, 3)))
    sent = cohort(rows)
    assert torch.equal(
        WeakDP(noise_std=0.0).step(rows, sent, {}), NormClipping().step(rows, sent, {})
    )


def test_noise_is_standard_normal_and_new_in_every_round_run_and_block() -> None:
    memory = Memory()
    noise = gaussian_noise(memory, 30_000)
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
    assert torch.equal(gaussian_noise(memory.copy(), 30_000), noise)
    assert torch.equal(gaussian_noise(memory, 10_000), noise[:10_000])
    seen = [noise[:8192], noise[8192:16384]]
    for name in ("seed", "round"):
        other = Memory()
        setattr(other, name, 1)
        seen.append(gaussian_noise(other, 8192))
    assert len({float(part[0]) for part in seen}) == 4
    assert np.abs(np.corrcoef(torch.stack(seen).numpy()) - np.eye(4)).max() < 0.05


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spoilt_rows_move_it_by_their_share_at_most(held, value, dtype) -> None:
    rows = torch.tensor(ROWS).to(dtype)
    rows[1, 0] = value
    step, _ = held(BASE.but(noise_std=0.0), rows)
    other, _ = held(BASE.but(noise_std=0.0), rows.where(torch.tensor([[1], [0], [1]]) == 1, 0.0))
    assert (step - other).norm() <= 1 / 3 * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_type_gets_the_same_noise_and_the_definition_knows_it(held, dtype) -> None:
    rows = torch.zeros(3, 20_000, dtype=dtype)
    step, _ = held(BASE, rows, seed=5, rounds=3)
    memory = Memory()
    memory.seed, memory.round = 5, 3
    assert torch.equal(step, 0.5 * gaussian_noise(memory, 20_000).to(dtype))


@pytest.mark.parametrize("wrong", ["none", "last round's", "half"])
def test_other_noise_is_refused(held, monkeypatch, wrong) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 20_000)))
    held(BASE, rows, rounds=2)

    def noise(memory: Memory, size: int) -> torch.Tensor:
        if wrong == "last round's":
            memory = memory.copy()
            memory.round -= 1
        return gaussian_noise(memory, size) * {"none": 0.0, "half": 0.5}.get(wrong, 1.0)

    monkeypatch.setattr(weakdp, "gaussian_noise", noise)
    with pytest.raises(IdentityError, match="'weakdp' does not step by"):
        held(BASE, rows, rounds=2)


@pytest.mark.parametrize(
    "how",
    [{"engine": "stacked"}, {"engine": "flower-grid"}],
    ids=str,
)
def test_a_run_draws_the_same_noise_on_every_engine(how: dict[str, Any]) -> None:
    """Another purpose number, or a generator of the engine's, would end in another model."""
    if how["engine"] == "flower-grid":
        pytest.importorskip("flwr")
    scenario = Scenario(
        dataset="synthetic:200", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
        strategy="weakdp", optimizer="sgd",
    )  # fmt: skip
    alone = run(scenario, 0, device="cpu", precision="float64", engine="sequential")
    other = run(scenario, 0, device="cpu", precision="float64", **how)
    assert other.accuracy == alone.accuracy
    assert other.loss == pytest.approx(alone.loss, rel=1e-9)
    quiet = dataclasses.replace(scenario.parts.strategy, noise_std=0.0)
    silent = run(scenario.but(strategy=quiet), 0, device="cpu", precision="float64")
    assert abs(silent.loss[-1] - alone.loss[-1]) > 1e-6
