from __future__ import annotations

import numpy as np
import pytest
import torch

from fedcore.errors import IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from fedcore.strategies.robust import dnc
from fedcore.strategies.robust.dnc import DnC

ONE_OF_FIVE = Scenario(strategy="dnc", num_clients=5, fraction_train=1.0, num_byzantine=1)
# the mean is (1, 0); less that, the products of the coordinates are [[50, 0], [0, 6]]: the first
# axis is the top singular vector, and scores are 0, 4, 1, 9, 36
ROWS = [[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0], [-2.0, 0.0], [7.0, 0.0]]


def test_by_hand(held) -> None:
    scores = dnc.outlyingness(torch.tensor(ROWS))
    np.testing.assert_allclose(scores / scores.max(), np.array([0, 4, 1, 9, 36]) / 36, atol=1e-9)
    step, memory = held(ONE_OF_FIVE, ROWS, samples=[1, 1, 1, 1, 90])  # unweighted
    assert step.tolist() == pytest.approx([-0.5, 0.0])
    assert memory.noted.coefficients == pytest.approx((0.25, 0.25, 0.25, 0.25, 0.0))


def test_the_filter_fraction_removes_the_floor_of_its_multiple(held) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 3)))
    base = ONE_OF_FIVE.but(num_clients=7, num_byzantine=3)
    for c, removed in ((0.3, 0), (0.5, 1), (1.0, 3), (1.5, 4)):
        _, memory = held(base.but(filter_fraction=c), rows)
        assert memory.noted.coefficients.count(0.0) == removed
    with pytest.raises(ScenarioError, match=r"got 7 <= floor\(2.4 \* 3\) = 7: lower filter_frac"):
        base.but(filter_fraction=2.4)


def test_passes_draw_their_coordinates_and_keep_those_that_all_keep(held) -> None:
    """Of many coordinates four: who stands out in these is removed by that pass alone."""
    scenario = ONE_OF_FIVE.but(sampled_coordinates=4, aggregation_iterations=1)
    rows = torch.from_numpy(np.random.default_rng(4).standard_normal((5, 150)))
    kept = {}
    for passes in (1, 2, 3):
        _, memory = held(scenario.but(aggregation_iterations=passes), rows)
        kept[passes] = {i for i, c in enumerate(memory.noted.coefficients) if c}
    assert kept[1] >= kept[2] >= kept[3]
    assert len(kept[3]) < 4
    assert {len(held(scenario, rows, seed=seed)[1].noted.coefficients) for seed in range(3)} == {5}
    chosen = {held(scenario, rows, seed=seed)[1].noted.coefficients for seed in range(8)}
    assert len(chosen) > 1
    rounds = {held(scenario, rows, rounds=r)[1].noted.coefficients for r in range(1, 9)}
    assert len(rounds) > 1


def test_where_nobody_is_kept_by_all_those_that_most_keep_are_averaged(held, monkeypatch) -> None:
    turns = iter([[9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0]] * 2)
    monkeypatch.setattr(dnc, "outlyingness", lambda rows: np.array(next(turns), dtype=float))
    rows = torch.tensor([[1.0] * 9, [2.0] * 9, [4.0] * 9])
    rule = DnC(num_byzantine=1, sampled_coordinates=2, aggregation_iterations=4)
    memory = Memory()
    step = rule.step(rows, None, memory)  # type: ignore[arg-type]
    assert step[0] == 3  # the second and third are kept three times, the first twice
    assert memory.noted is not None
    assert memory.noted.coefficients == (0.0, 0.5, 0.5)


def test_one_huge_update_may_hide_another(cohort) -> None:
    """Equal ones go together; beside one of another order of size the smaller may stay."""
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 4)))
    rows[:2] = 1e30
    equal = Memory()
    DnC(num_byzantine=2).step(rows, cohort(rows), equal)
    assert equal.noted.coefficients[:2] == (0.0, 0.0)
    rows[1] = torch.tensor([1e14, 0, 0, 0])
    hidden = Memory()
    step = DnC(num_byzantine=2).step(rows, cohort(rows), hidden)
    assert hidden.noted.coefficients[0] == 0
    assert step.abs().max() <= 1e14


@pytest.mark.parametrize("sampled", [3, 10_000])
def test_one_that_draws_another_rounds_coordinates_or_keeps_the_worst_is_refused(
    held, monkeypatch, sampled
) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 150)))
    scenario = ONE_OF_FIVE.but(sampled_coordinates=sampled)
    held(scenario, rows)
    rightly = dnc.outlyingness
    monkeypatch.setattr(dnc, "outlyingness", lambda part: -rightly(part))
    with pytest.raises(IdentityError, match="keeps others than"):
        held(scenario, rows)
    monkeypatch.setattr(dnc, "outlyingness", rightly)
    if sampled == 3:
        monkeypatch.setattr(Memory, "chance", lambda self: np.random.default_rng(self.seed))
        with pytest.raises(IdentityError, match="keeps others than"):
            held(scenario, rows, rounds=8)


@pytest.mark.parametrize(("width", "dims"), [(3000, 10_000), (3000, 400)])
def test_another_filter_is_refused_in_a_large_model_too(held, monkeypatch, width, dims) -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((7, width)))
    rows[5:] += 2
    rows[0, 7] = float("nan")
    scenario = Scenario(
        strategy="dnc", num_clients=7, fraction_train=1.0, num_byzantine=2,
        filter_fraction=1.5, sampled_coordinates=dims, aggregation_iterations=2,
    )  # fmt: skip
    _, memory = held(scenario, rows)
    assert memory.noted.coefficients[0] == memory.noted.coefficients[5] == 0
    monkeypatch.setattr(dnc, "outlyingness", lambda rows: np.arange(len(rows))[::-1] * 1.0)
    with pytest.raises(IdentityError, match="it keeps others than the spectral filter does"):
        held(scenario, rows)
