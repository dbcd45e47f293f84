from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.scenario import Scenario
from fedcore.strategies.robust import mda

ONE_OF_FOUR = Scenario(strategy="mda", num_clients=4, fraction_train=1.0, num_byzantine=1)
# 2 apart are the first two, and so the diameter of both subsets without the third or the fourth;
# these are 2.1 apart, and each of the others less than 1.6 from both
KITE = [[0.0, 0.0], [2.0, 0.0], [1.0, 1.2], [1.0, -0.9]]


def test_by_hand(held) -> None:
    rows = [[0.0], [1.0], [2.0], [2.5], [30.0]]
    scenario = ONE_OF_FOUR.but(num_clients=5, num_byzantine=2)
    step, memory = held(scenario, rows, samples=[1, 1, 90, 1, 1])  # unweighted
    assert step.item() == pytest.approx(5.5 / 3)  # 1, 2, 2.5 of diameter 1.5; 0, 1, 2 of 2
    assert memory.noted.coefficients == pytest.approx((0, 1 / 3, 1 / 3, 1 / 3, 0))


def test_of_two_subsets_of_one_diameter_the_one_with_the_nearer_members_is_taken(held) -> None:
    """ByzFL takes the first in order, here the one without the last."""
    _, memory = held(ONE_OF_FOUR, KITE)
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 3, 0, 1 / 3))
    rows = np.array(KITE)
    diameters = {
        subset: max(np.linalg.norm(rows[i] - rows[j]) for i in subset for j in subset)
        for subset in itertools.combinations(range(4), 3)
    }
    assert min(diameters, key=diameters.__getitem__) == (0, 1, 2)
    _, memory = held(ONE_OF_FOUR, [KITE[place] for place in (3, 2, 0, 1)])
    assert memory.noted.coefficients == pytest.approx((1 / 3, 0, 1 / 3, 1 / 3))


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(5, 9), st.sampled_from([1e-3, 1.0, 1e15]))
def test_it_finds_what_looking_at_all_subsets_finds(cohort, seed, size, scale) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((size, 2))
    f = int(generator.integers(1, (size + 1) // 2))
    rows[:f] *= scale
    keep = size - f
    best = min(
        itertools.combinations(range(size), keep),
        key=lambda s: (
            max(np.linalg.norm(rows[i] - rows[j]) for i in s for j in s),
            sum(((rows[i] - rows[j]) ** 2).sum() for i in s for j in s),
        ),
    )
    gaps = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    assert mda.least_diameter(gaps, keep) == list(best)
    sent = cohort(torch.from_numpy(rows))
    step = mda.MDA(num_byzantine=f).step(sent.updates, sent, {})
    np.testing.assert_allclose(step.numpy(), rows[list(best)].mean(axis=0), atol=1e-9)


@given(st.integers(0, 2**31), st.floats(-1e12, 1e12))
def test_the_result_is_within_the_benign_diameter_of_a_benign_update(held, seed, size) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 3)))
    rows[:2] += size
    step, _ = held(ONE_OF_FOUR.but(num_clients=5, num_byzantine=2), rows)
    nearest = (rows[2:] - step).norm(dim=1).min()
    assert nearest <= torch.cdist(rows[2:], rows[2:]).max() * (1 + 1e-9)


def test_more_subsets_than_can_be_looked_at_are_refused_with_the_formula() -> None:
    fifty = ONE_OF_FOUR.but(num_clients=50, num_byzantine=None)
    assert fifty.parts.strategy.tolerated(50) == 4  # C(50, 4) = 230,300
    assert fifty.parts.strategy.tolerated(11) == 5
    with pytest.raises(ScenarioError, match=r"C\(K, f\) <= 250000 .* got C\(50, 5\) = 2\.12e\+06"):
        fifty.but(num_byzantine=5)


def test_equal_rows_and_most_of_them_not_finite(held) -> None:
    step, _ = held(ONE_OF_FOUR, [[2.0]] * 4)
    assert step.item() == 2
    step, memory = held(ONE_OF_FOUR, [[float("nan")], [1.0], [float("inf")], [3.0]])
    assert (step.item(), memory.noted.coefficients) == (2, (0, 0.5, 0, 0.5))


def test_one_that_takes_the_greatest_diameter_is_refused(held, monkeypatch) -> None:
    monkeypatch.setattr(mda, "least_diameter", lambda gaps, count: [0, 2, 3])
    with pytest.raises(IdentityError, match=r"its subset has diameter 2\.1, another one 2"):
        held(ONE_OF_FOUR, KITE)


def test_one_that_takes_the_first_subset_is_refused(held, monkeypatch) -> None:
    monkeypatch.setattr(mda, "least_diameter", lambda gaps, count: [0, 1, 2])
    with pytest.raises(IdentityError, match="another subset of its diameter has nearer members"):
        held(ONE_OF_FOUR, KITE)


@pytest.mark.parametrize(("clients", "f"), [(6, 2), (16, 7)])
def test_another_subset_is_refused_in_a_large_model_too(held, monkeypatch, clients, f) -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((clients, 3000)))
    rows[0] += 1
    scenario = Scenario(strategy="mda", num_clients=clients, fraction_train=1.0, num_byzantine=f)
    held(scenario, rows)
    monkeypatch.setattr(mda, "least_diameter", lambda distances, count: list(range(count)))
    with pytest.raises(IdentityError, match=r"its subset has diameter|has nearer members"):
        held(scenario, rows)
    monkeypatch.undo()
    real = mda.squared_distances
    monkeypatch.setattr(mda, "squared_distances", lambda *given: real(*given).sqrt())
    with pytest.raises(IdentityError, match="it takes the squared distance of rows"):
        held(scenario, rows)
