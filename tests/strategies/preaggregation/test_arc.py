"""Adaptive robust clipping: the longest updates are shortened to the length of the next one."""

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
from fedcore.strategies.preaggregation.arc import AdaptiveRobustClipping as Arc

REAL = Arc.mix
NAN, INF = float("nan"), float("inf")
SMALL = Scenario(
    dataset="synthetic:240", model="mlp", num_clients=9, fraction_train=1.0, rounds=2,
    preaggregation="arc(num_byzantine=2)", local_epochs=(1, 2),
)  # fmt: skip


def mixed(sent, f: int | None):
    return Arc(num_byzantine=f).mix(sent.updates, sent, torch.Generator())


@pytest.mark.parametrize(
    ("rows", "f", "k"),
    [(5, 1, 1), (5, 2, 2), (10, 1, 1), (10, 3, 4), (10, 4, 4), (25, 5, 8), (9, 0, 0), (6, 2, 2)],
)
def test_how_many_are_clipped(rows, f, k) -> None:
    assert Arc(num_byzantine=f).clipped(rows) == k == int(2 * f * (rows - f) / rows)


def test_f_left_open_is_the_largest_minority() -> None:
    assert [Arc().clipped(rows) for rows in (1, 2, 5, 10)] == [0, 0, 2, 4]


def test_by_hand(cohort) -> None:
    # lengths 5, 1, 2, 10, 4; f = 2 of 5: k = floor(2 * 0.4 * 3) = 2, so to the third largest, 4
    sent = cohort([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [6.0, 8.0], [4.0, 0.0]])
    made, facts = mixed(sent, 2)
    expected = [[2.4, 3.2], [1.0, 0.0], [0.0, 2.0], [2.4, 3.2], [4.0, 0.0]]
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64))
    assert facts.mixing is not None
    np.testing.assert_allclose(facts.mixing.diagonal(), [0.8, 1, 1, 0.4, 1])
    # f = 1: k = floor(1.6) = 1, only the longest, to 5; not f of them, which would be the same
    assert mixed(sent, 1)[0][3].norm() == pytest.approx(5.0)


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(0, 5), st.floats(0.25, 4.0))
def test_properties(cohort, seed, size, f, scale) -> None:
    f = min(f, (size - 1) // 2)
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((size, 3)))
    made, _ = mixed(cohort(rows), f)
    k = Arc(num_byzantine=f).clipped(size)
    assert int((made != rows).any(dim=1).sum()) <= k
    if f == 0:
        assert torch.equal(made, rows)
    bound = rows.norm(dim=1).sort(descending=True).values[k]
    assert bool((made.norm(dim=1) <= bound * (1 + 1e-12)).all())
    order = np.random.default_rng(seed).permutation(size)
    torch.testing.assert_close(mixed(cohort(rows[order]), f)[0], made[order])
    torch.testing.assert_close(mixed(cohort(scale * rows), f)[0], scale * made)


@given(st.integers(0, 2**31), st.floats(1.0, 1e12))
def test_f_rows_are_no_longer_than_an_honest_one(cohort, seed, far) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((9, 3)))
    longest = rows[3:].norm(dim=1).max()
    rows[:3] *= far
    assert bool((mixed(cohort(rows), 3)[0].norm(dim=1) <= longest * (1 + 1e-12)).all())


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_is_the_longest_and_becomes_zero(cohort, bad, dtype) -> None:
    rows = torch.tensor([[5.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, bad], [4.0, 0.0]], dtype=dtype)
    made, _ = mixed(cohort(rows), 2)
    # k = 2: that row and the one of length 5, to 4
    assert made.tolist() == [[4, 0], [1, 0], [2, 0], [0, 0], [4, 0]]


def test_more_rows_that_are_not_finite_than_are_clipped(cohort) -> None:
    rows = torch.tensor([[5.0], [NAN], [INF], [1.0], [0.0]])
    assert mixed(cohort(rows), 1)[0].flatten().tolist() == [5, 0, 0, 1, 0]
    assert mixed(cohort(torch.zeros(5, 2)), 2)[0].tolist() == torch.zeros(5, 2).tolist()


def test_what_no_minority_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"'arc\(num_byzantine=5\)' needs rows > 2 f, got 9"):
        SMALL.but(preaggregation="arc(num_byzantine=5)")
    with pytest.raises(ScenarioError, match=r"got 5 of 9 clients <= 2 \* 3"):
        SMALL.but(preaggregation="bucketing(size=2), arc(num_byzantine=3)")


def test_chains_in_runs() -> None:
    for chain in ("arc", "bucketing(size=2), arc(num_byzantine=2)", "arc, nnm(num_byzantine=2)"):
        record = run(SMALL.but(preaggregation=chain, strategy="median"), device="cpu")
        assert record.audit.identity.rounds_checked == 2
        assert record.audit.identity.rounds_differing == record.audit.identity.rounds_due == 2


def of_f(updates, cohort, generator):
    """Clips f rows, not floor(2 (f/K) (K - f)); of 9 that is 2, not 3."""
    norms = updates.double().norm(dim=1)
    factors = (norms.sort(descending=True).values[2] / norms).clamp(max=1)
    facts = dataclasses.replace(cohort, mixing=np.diag(factors.numpy()))
    return updates * factors[:, None].float(), facts


def unclipped(updates, cohort, generator):
    return updates, REAL(Arc(num_byzantine=2), updates, cohort, generator)[1]


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (of_f, "where k=3 and the length"),
        (unclipped, "rows that it was given, unmixed"),
    ],
)
def test_planted_mixes_are_named(monkeypatch, mix, reason) -> None:
    monkeypatch.setattr(Arc, "mix", lambda self, *given: mix(*given))
    with pytest.raises(IdentityError, match=rf"clipped to the \(k\+1\)-th length: .*{reason}"):
        run(SMALL, device="cpu")
