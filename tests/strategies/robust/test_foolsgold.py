"""FoolsGold: weights by hand, histories over rounds, conventions, planted bugs."""

from __future__ import annotations

import dataclasses
import math

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
from fedcore.strategies.distances import cosines
from fedcore.strategies.robust import foolsgold
from fedcore.strategies.robust.foolsgold import FoolsGold, weighed

NAN, INF = float("nan"), float("inf")
SMALL = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=8, fraction_train=0.75, rounds=4,
    strategy="foolsgold", partition="dirichlet", alpha=0.3, min_partition_size=4,
)  # fmt: skip


def stepped(sent, memory=None, kappa: float = 1.0) -> torch.Tensor:
    return FoolsGold(kappa=kappa).step(sent.updates, sent, Memory() if memory is None else memory)


def by_the_paper(rows: np.ndarray, kappa: float) -> np.ndarray:
    """Algorithm 1 in loops over pairs, of histories [K, n]."""
    size = len(rows)
    alike = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            if i != j:
                alike[i, j] = rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
    v = np.maximum(alike.max(axis=1), 0)
    for i in range(size):
        for j in range(size):
            if v[j] > v[i]:
                alike[i, j] *= v[i] / v[j]
    b = np.clip(1 - np.maximum(alike.max(axis=1), 0), 0, 1)
    b = b / b.max()
    with np.errstate(divide="ignore"):
        return np.clip(kappa * (np.log(b / (1 - b)) + 0.5), 0, 1)


def test_two_that_are_alike_count_nothing(cohort) -> None:
    memory = Memory()
    made = stepped(cohort([[1.0, 0.0], [5.0, 0.0], [0.0, 3.0]], samples=(9, 9, 1)), memory)
    assert made.tolist() == [0.0, 3.0]
    assert memory.noted is not None
    assert memory.noted.coefficients == (0, 0, 1)
    assert memory.noted.passes[:3] == ((1, 1, 0), (0, 0, 1), (0, 0, 1))


def test_by_hand_with_pardon() -> None:
    # cosines 0.8 (0, 1), 0.4 (1, 2), 0.2 (0, 2): v = 0.8, 0.8, 0.4; of client 2 these are halved,
    # so that b = 0.2, 0.2, 0.8, over 0.8 0.25, 0.25, 1
    alike = torch.tensor([[1, 0.8, 0.2], [0.8, 1, 0.4], [0.2, 0.4, 1]], dtype=torch.float64)
    greatest, distinct, weights, nearest, rival = weighed(alike, 1.0)
    assert greatest.tolist() == [0.8, 0.8, 0.4]
    assert distinct.tolist() == pytest.approx([0.25, 0.25, 1.0])
    assert nearest.tolist() == [1, 0, 1]
    assert rival.tolist() == [1, 0, 1]
    assert weights.tolist() == [0.0, 0.0, 1.0]  # ln(1/3) + 0.5 < 0
    # cosines of b = 0.5 after division: a = kappa / 2
    alike = torch.tensor([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], dtype=torch.float64)
    assert weighed(alike, 1.0).weights.tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert weighed(alike, 0.5).weights.tolist() == pytest.approx([0.25, 0.25, 1.0])


def test_the_convention_for_the_most_distinct_client_and_for_the_sum(cohort) -> None:
    rows = [[1.0, 0.0, 0.0], [0.5, math.sqrt(0.75), 0.0], [0.0, 0.0, 1.0]]
    sent = cohort(rows)
    memory = Memory()
    made = stepped(sent, memory, kappa=0.1)
    assert memory.noted is not None
    assert memory.noted.passes[2] == pytest.approx((0.05, 0.05, 1.0))
    code = 0.1 * (math.log(0.99 / 0.01) + 0.5)  # the authors' code has 0.99 in the place of b = 1
    assert code == pytest.approx(0.51, abs=0.01)
    alphas = torch.tensor([0.05, 0.05, 1.0], dtype=torch.float64)
    sums = alphas @ sent.updates
    torch.testing.assert_close(made, sums / 1.1)
    assert not torch.allclose(made, sums)  # the paper's sum of gradients
    assert not torch.allclose(made, sums / 3)  # others divide by the cohort


@given(st.integers(0, 2**31), st.integers(2, 8), st.floats(0.2, 3.0))
def test_weights_are_those_of_the_papers_loops(cohort, seed, size, kappa) -> None:
    rows = np.random.default_rng(seed).standard_normal((size, 4))
    sent, memory = cohort(torch.from_numpy(rows)), Memory()
    made = stepped(sent, memory, kappa)
    weights = by_the_paper(rows, kappa)
    assert memory.noted is not None
    np.testing.assert_allclose(memory.noted.passes[2], weights, atol=1e-9)
    np.testing.assert_allclose(made, weights @ rows / weights.sum(), atol=1e-9)


@given(st.integers(0, 2**31), st.floats(0.25, 4.0))
def test_properties(cohort, seed, scale) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 4)))
    made = stepped(cohort(rows))
    torch.testing.assert_close(stepped(cohort(scale * rows)), scale * made)
    order = np.random.default_rng(seed).permutation(6)
    torch.testing.assert_close(stepped(cohort(rows[order])), made)
    assert float(made.norm()) <= float(rows.norm(dim=1).max()) * (1 + 1e-9)


def test_a_history_is_the_sum_over_the_rounds_of_its_client(cohort) -> None:
    memory = Memory()
    first = dataclasses.replace(cohort([[1.0, 0.0], [0.0, 2.0]]), clients=(3, 8))
    second = dataclasses.replace(cohort([[0.0, 1.0], [1.0, 2.0]]), clients=(8, 5))
    stepped(first, memory)
    stepped(second, memory)
    assert sorted(memory) == ["history.3", "history.5", "history.8"]  # of clients seen, no others
    assert memory["history.8"].tolist() == [0.0, 3.0]
    assert memory["history.3"].tolist() == [1.0, 0.0]
    assert first.updates.tolist() == [[1, 0], [0, 2]]
    # of this round alone, clients 8 and 5 would have the cosine 0.894 just so; now by history
    assert memory.noted is not None
    assert memory.noted.passes[0] == pytest.approx((2 / math.sqrt(5),) * 2)


def test_where_all_are_alike_the_model_is_kept(cohort) -> None:
    assert stepped(cohort([[1.0, 1.0]] * 3)).tolist() == [0.0, 0.0]
    assert stepped(cohort([[0.0, 0.0]] * 3)).tolist() == [0.0, 0.0]
    assert stepped(cohort([[2.0, 1.0]])).tolist() == [2.0, 1.0]  # nobody to be like


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_counts_nothing_and_enters_no_history(cohort, bad, dtype) -> None:
    rows = torch.tensor([[1.0, 0.0], [bad, 1.0], [0.0, 2.0]], dtype=dtype)
    memory = Memory()
    made = stepped(cohort(rows), memory)
    torch.testing.assert_close(made, stepped(cohort(rows[[0, 2]])))
    assert "history.1" not in memory
    assert memory.noted is not None
    assert memory.noted.coefficients[1] == 0
    assert made.dtype == dtype
    assert stepped(cohort(rows[1:2].repeat(2, 1))).tolist() == [0, 0]


def test_a_history_that_overflows_is_like_nobodys(cohort) -> None:
    memory = Memory()
    rows = torch.tensor([[3e38, 0.0], [1.0, 1.0], [-1.0, 1.0]])
    for _ in range(2):
        made = stepped(cohort(rows), memory)
    assert memory["history.0"].isinf().any()
    assert not made.isnan().any()


def test_cosines_of_nothing() -> None:
    assert cosines([]).shape == (0, 0)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"'nnm' are of several clients: choose another"):
        SMALL.but(preaggregation="nnm")
    with pytest.raises(ScenarioError, match="compares clients, got a cohort of 1"):
        SMALL.but(fraction_train=0.125)
    assert SMALL.but(preaggregation="arc").rows == 6  # keeps the clients


def test_a_run_is_checked_round_by_round() -> None:
    record = run(SMALL, device="cpu")
    identity = record.audit.identity
    assert identity.rounds_checked == identity.rounds_due == identity.rounds_differing == 4


REAL = FoolsGold.step


def forgetful(self, updates, cohort, memory):
    for name in list(memory):
        del memory[name]
    return REAL(self, updates, cohort, memory)


def of_this_round_alone(self, updates, cohort, memory):
    made = REAL(self, updates, cohort, inner := Memory())
    REAL(self, updates, cohort, memory)
    memory.noted = inner.noted
    return made


def summed(self, updates, cohort, memory):
    made = REAL(self, updates, cohort, memory)
    total = sum(memory.noted.passes[2])
    coefficients = tuple(c * total for c in memory.noted.coefficients)
    memory.noted = dataclasses.replace(memory.noted, coefficients=coefficients)
    return made * total


def unweighted(self, updates, cohort, memory):
    REAL(self, updates, cohort, memory)
    return FedAvg().step(updates, cohort, memory)


def unpardoned(alike, kappa):
    judged = weighed(alike, kappa)
    distinct = 1 - judged.greatest
    distinct = distinct / distinct.max()
    weights = (kappa * (torch.logit(distinct) + 0.5)).clamp(0, 1)
    return judged._replace(distinct=distinct, weights=weights)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (forgetful, "keeps another 'history|has cosine"),
        (of_this_round_alone, "has cosine"),
        (summed, "coefficients are not in proportion|does not step by"),
        (unweighted, "equals FedAvg's, the sample-weighted mean"),
        (FedAvg.step, "equals FedAvg's, the sample-weighted mean"),
    ],
)
def test_planted_steps_are_not_foolsgold(monkeypatch, step, reason) -> None:
    monkeypatch.setattr(FoolsGold, "step", step)
    with pytest.raises(IdentityError, match=reason):
        run(SMALL.but(rounds=6), device="cpu")


def test_weights_without_pardon_are_named(monkeypatch) -> None:
    monkeypatch.setattr(foolsgold, "weighed", unpardoned)
    with pytest.raises(IdentityError, match=r"has b = .*, not"):
        run(SMALL.but(rounds=6), device="cpu")


def test_it_bounds_no_update(held) -> None:
    """One huge update that is like nobody's counts in full, as in the paper."""
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 60)) * 0.1 + 1)
    rows[0] = torch.from_numpy(np.random.default_rng(2).standard_normal(60)) * 1e12
    scenario = Scenario(strategy="foolsgold", num_clients=5, fraction_train=1.0)
    step, memory = held(scenario, rows)
    assert memory.noted.passes[2][0] == 1.0
    assert step.norm() > 1e10
