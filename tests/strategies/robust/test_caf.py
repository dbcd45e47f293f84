from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError
from fedcore.scenario import Scenario
from fedcore.strategies.robust import caf

ONE_OF_FOUR = Scenario(strategy="caf", num_clients=4, fraction_train=1.0, num_byzantine=1)


def test_by_hand(held) -> None:
    """Of 0, 0, 0, 4: mean 1, variance 3, tau 1, 1, 1, 9, weights 8/9 and 0: their sum exceeds 2.

    Then mean and variance are 0, the least. With f = 1 of 3, 0, 0, 3 have variance 2, tau 1, 1, 4
    and weights 3/4: their sum 1.5 exceeds 1.
    """
    step, memory = held(ONE_OF_FOUR, [[0.0], [0.0], [0.0], [4.0]], samples=[1, 1, 1, 90])
    assert step.item() == pytest.approx(0, abs=1e-12)
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))


def test_weights_are_not_only_one_and_zero(held) -> None:
    """Of 0, 2, 6, 16: mean 6, tau 36, 16, 0, 100, weights 0.64, 0.84, 1, 0 of sum 2.48 > 2."""
    step, memory = held(ONE_OF_FOUR, [[0.0], [2.0], [6.0], [16.0]])
    weights = np.array([0.64, 0.84, 1, 0]) / 2.48
    assert memory.noted.coefficients == pytest.approx(tuple(weights))
    assert step.item() == pytest.approx((0.84 * 2 + 6) / 2.48)


def test_the_mean_is_kept_where_filtering_would_end_at_once(held) -> None:
    """Of -1 and 1, thrice: tau are equal, and all weights become 0: the first mean is the step."""
    step, memory = held(ONE_OF_FOUR, [[-1.0], [1.0], [-1.0], [1.0]])
    assert step.item() == 0
    assert memory.noted.coefficients == (0.25,) * 4


def test_one_power_iteration_as_byzfl_makes_is_another_filter(held) -> None:
    """From a random vector, one multiplication: its direction is not the eigenvector's."""
    rows = np.random.default_rng(1).standard_normal((6, 5))
    rows[0] += 3
    scenario = ONE_OF_FOUR.but(num_clients=6)
    step, _ = held(scenario, torch.from_numpy(rows))
    gaps = []
    for seed in range(5):
        weights, best = np.ones(6), (np.inf, rows.mean(axis=0))
        generator = np.random.default_rng(seed)
        while weights.sum() > 4:
            mean = weights @ rows / weights.sum()
            moved = ((rows - mean).T * weights) @ (rows - mean) @ generator.standard_normal(5)
            vector = moved / np.linalg.norm(moved)
            value = weights @ ((rows - mean) @ vector) ** 2 / weights.sum()
            best = min(best, (value, mean), key=lambda pair: pair[0])
            scores = ((rows - mean) @ vector) ** 2
            weights = weights * (1 - scores / scores.max())
        gaps.append(float(np.linalg.norm(best[1] - step.numpy())))
    assert max(gaps) > 1e-3
    assert len({round(gap, 9) for gap in gaps}) > 1


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(1e3, 1e15))
def test_far_rows_move_it_no_further_than_the_benign_ones_are_spread(held, seed, size) -> None:
    generator = np.random.default_rng(seed)
    rows = torch.from_numpy(generator.standard_normal((8, 3)))
    rows[:2] = torch.from_numpy(generator.standard_normal((2, 3))) * size
    rows[1] = rows[0] * generator.uniform(0.5, 1)
    step, memory = held(ONE_OF_FOUR.but(num_clients=8, num_byzantine=2), rows)
    assert sum(memory.noted.coefficients) == pytest.approx(1)
    benign = rows[2:]
    spread = torch.linalg.eigvalsh(torch.cov(benign.T, correction=0))[-1].sqrt()
    assert (step - benign.mean(dim=0)).norm() <= 6 * spread


def test_one_that_does_not_project_on_the_eigenvector_is_refused(held, monkeypatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((6, 5)))
    scenario = ONE_OF_FOUR.but(num_clients=6, num_byzantine=2)
    held(scenario, rows)
    rightly = caf.filtered
    monkeypatch.setattr(caf, "filtered", lambda gaps, *more: rightly(np.sqrt(gaps), *more))
    with pytest.raises(IdentityError, match="are not those of the"):
        held(scenario, rows)
    monkeypatch.setattr(caf, "filtered", lambda gaps, origin, least: np.full(len(gaps), 0.1))
    with pytest.raises(IdentityError, match=r"its weights add up to 0\.6, not 1"):
        held(scenario, rows)


@pytest.mark.parametrize(
    "shares",
    [
        lambda size: np.full(size, 1 / size),
        lambda size: np.repeat([0.0, 1 / (size - 2)], [2, size - 2]),
    ],
    ids=["the mean", "two left out"],
)  # fmt: skip
def test_weights_of_no_filter_are_refused_in_a_large_model_too(held, monkeypatch, shares) -> None:
    """Where all clients have as many samples, such a mean is FedAvg's under another name."""
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((6, 3000)))
    rows[5] *= 5
    held(ONE_OF_FOUR.but(num_clients=6), rows)
    monkeypatch.setattr(caf, "filtered", lambda distances, origin, least: shares(len(distances)))
    with pytest.raises(IdentityError, match="its weights are not those of the filter"):
        held(ONE_OF_FOUR.but(num_clients=6), rows)


def test_other_distances_are_refused_in_a_large_model_too(held, monkeypatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((6, 3000)))
    real = caf.squared_distances
    monkeypatch.setattr(caf, "squared_distances", lambda *given: real(*given).sqrt())
    with pytest.raises(IdentityError, match="it takes the squared distance of rows"):
        held(ONE_OF_FOUR.but(num_clients=6), rows)
