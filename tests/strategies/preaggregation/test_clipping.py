"""Static clipping in front of a rule."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.preaggregation.clipping import Clipping
from fedcore.strategies.robust.normclipping import NormClipping

REAL = Clipping.mix
SMALL = Scenario(
    dataset="synthetic:240", model="mlp", num_clients=6, fraction_train=1.0, rounds=2,
    preaggregation="clipping(norm_bound=0.01)", local_epochs=(1, 2),
)  # fmt: skip


def mixed(sent, bound: float):
    return Clipping(norm_bound=bound).mix(sent.updates, sent, torch.Generator())


def test_by_hand(cohort) -> None:
    rows, facts = mixed(cohort([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]]), 2.5)
    expected = [[1.5, 2.0], [0.3, 0.4], [0.0, 0.0], [-1.5, 2.0]]
    torch.testing.assert_close(rows, torch.tensor(expected, dtype=torch.float64))
    assert facts.mixing is not None
    assert facts.mixing.diagonal().tolist() == [0.5, 1.0, 1.0, 0.25]


@given(st.integers(0, 2**31), st.floats(0.1, 10.0))
def test_in_front_of_fedavg_it_is_norm_clipping(cohort, seed, bound) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 3)))
    sent = cohort(rows, samples=(1, 2, 3, 4, 5))
    made, facts = mixed(sent, bound)
    behind = FedAvg().step(made, facts, {})
    torch.testing.assert_close(behind, NormClipping(norm_bound=bound).step(rows, sent, {}))
    assert bool((made.norm(dim=1) <= bound * (1 + 1e-12)).all())
    torch.testing.assert_close(mixed(cohort(2 * rows), 2 * bound)[0], 2 * made)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_becomes_zero(cohort, bad, dtype) -> None:
    rows = torch.ones(3, 2, dtype=dtype)
    rows[1, 0] = bad
    made, _ = mixed(cohort(rows), 10.0)
    assert made.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert made.dtype == dtype
    assert not rows[1, 0].isfinite()


def test_a_run_differs_and_is_checked() -> None:
    record = run(SMALL, device="cpu")
    assert record.audit.identity.rounds_differing == record.audit.identity.rounds_due == 2
    # it keeps the clients, so that FedNova knows what their work was
    assert run(SMALL.but(strategy="fednova"), device="cpu").audit.identity.rounds_checked == 2
    with pytest.raises(ScenarioError, match="norm_bound must be > 0, got 0"):
        SMALL.but(preaggregation="clipping(norm_bound=0)")


def unclipped(updates, cohort, generator):
    facts = REAL(Clipping(norm_bound=0.01), updates, cohort, generator)[1]
    return updates, dataclasses.replace(facts, mixing=np.eye(len(updates)))


def by_coordinate(updates, cohort, generator):
    facts = REAL(Clipping(norm_bound=0.01), updates, cohort, generator)[1]
    return updates.clamp(-0.01, 0.01), facts


def of_another_bound(updates, cohort, generator):
    return REAL(Clipping(norm_bound=0.02), updates, cohort, generator)


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (unclipped, r"it clips row \d of length .* by 1, where norm_bound=0.01 asks for"),
        (by_coordinate, "off by more than rounding"),
        (of_another_bound, "where norm_bound=0.01 asks for"),
    ],
)
def test_planted_mixes_are_named(monkeypatch, mix, reason) -> None:
    monkeypatch.setattr(Clipping, "mix", lambda self, *given: mix(*given))
    with pytest.raises(IdentityError, match=f"does not make the clipped updates: .*{reason}"):
        run(SMALL, device="cpu")
