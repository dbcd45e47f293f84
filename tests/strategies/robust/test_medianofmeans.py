from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory, Noted
from fedcore.scenario import Scenario
from fedcore.strategies.robust.medianofmeans import MedianOfMeans
from fedcore.strategies.robust.rfa import RFA

SIX = Scenario(strategy="medianofmeans", num_clients=6, fraction_train=1.0)


def test_by_hand(held) -> None:
    """Pairs of means 1, 2 and 100: the geometric median on a line is the median, 2."""
    rows = [[0.0], [2.0], [1.0], [3.0], [0.0], [200.0]]
    step, memory = held(SIX, rows, samples=[1, 1, 1, 1, 90, 1])  # unweighted
    assert step.item() == pytest.approx(2, abs=1e-3)
    weights = memory.noted.coefficients
    assert weights[::2] == weights[1::2]
    assert sum(weights) == pytest.approx(1)


def test_the_geometric_median_is_not_the_median_of_coordinates(held) -> None:
    """Of the corners of a right triangle: its angles are below 120 degrees, the point is inside."""
    corners = [[0.0, 0.0], [0.0, 0.0], [6.0, 0.0], [6.0, 0.0], [0.0, 6.0], [0.0, 6.0]]
    step, _ = held(SIX, corners)
    inner = 6 * (3 - 3**0.5) / 6  # Fermat's point of a right isosceles triangle, 6 the legs
    assert step.tolist() == pytest.approx([inner, inner], rel=1e-3)


@pytest.mark.parametrize(
    ("clients", "k", "sizes"),
    [
        (6, None, [2, 2, 2]),
        (7, None, [2, 2, 2, 1]),
        (8, 3, [3, 3, 2]),
        (5, 5, [1] * 5),
        (2, 9, [1, 1]),
    ],
)
def test_groups_are_neighbours_of_nearly_equal_sizes(clients, k, sizes) -> None:
    groups = MedianOfMeans(num_groups=k).groups(clients)
    assert [len(group) for group in groups] == sizes
    assert [row for group in groups for row in group] == list(range(clients))


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_one_group_is_the_mean_and_one_a_client_is_rfa_of_equal_samples(cohort, seed) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 3)))
    sent = cohort(rows)
    one = MedianOfMeans(num_groups=1).step(rows, sent, {})
    torch.testing.assert_close(one, rows.mean(dim=0))
    each = MedianOfMeans(num_groups=6).step(rows, sent, {})
    as_long = RFA(aggregation_iterations=1000)  # some seeds need more than 100
    torch.testing.assert_close(each, as_long.step(rows, sent, {}))


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([-2.0, 1e-3, 1e3]))
def test_unit_and_common_part_do_not_matter(held, cohort, seed, wide, scale) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 400 if wide else 3)))
    step, _ = held(SIX, rows)
    held(SIX, rows.float())
    sent = cohort(rows)
    moved = SIX.parts.strategy.step(scale * rows + 1, sent, {})
    assert (moved - scale * step - 1).norm() <= 1e-3 * abs(scale) * rows.norm()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spoilt_groups_neither_crash_nor_win(held, value, dtype) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((10, 3))).to(dtype)
    rows[2, 1] = value
    rows[9] = value
    step, memory = held(SIX.but(num_clients=10), rows)
    honest = torch.stack([rows[i : i + 2].mean(dim=0) for i in (0, 4, 6)])
    assert (step - honest.mean(dim=0)).norm() <= 4 * torch.cdist(honest, honest).max()
    if value != 1e30:
        assert [memory.noted.coefficients[i] for i in (2, 3, 8, 9)] == [0] * 4


def test_a_run_says_where_the_median_did_not_converge(cohort) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
    rule, memory = MedianOfMeans(aggregation_iterations=1), Memory()
    rule.step(rows, cohort(rows), memory)
    assert "did not converge" in rule.remarks(memory)[0]


@pytest.mark.parametrize(("clients", "k"), [(4, None), (6, 2), (6, 7)])
def test_groups_that_withstand_nobody_are_refused(clients, k) -> None:
    with pytest.raises(ScenarioError, match=r"needs 3 <= groups <= cohort, got \d groups of "):
        SIX.but(num_clients=clients, num_groups=k)


def test_one_that_is_rfa_of_the_clients_is_refused(held, monkeypatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
    monkeypatch.setattr(MedianOfMeans, "step", RFA.step)
    with pytest.raises(IdentityError, match="does not weigh the clients of a group alike"):
        held(SIX, rows)


def test_one_that_averages_the_groups_is_refused(held, monkeypatch) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 3)))
    mean = MedianOfMeans(num_groups=1)
    rightly = MedianOfMeans.step
    monkeypatch.setattr(MedianOfMeans, "step", lambda self, *given: rightly(mean, *given))
    with pytest.raises(IdentityError, match="'medianofmeans'"):
        held(SIX, rows)


@pytest.mark.parametrize("clients", [6, 7])
def test_weights_of_no_median_are_refused_in_a_large_model_too(held, monkeypatch, clients) -> None:
    """Of groups of one size the plain mean is FedAvg's of clients of equal samples."""
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((clients, 3000)))
    rows[:2] += 2
    held(SIX.but(num_clients=clients), rows, rounds=4)

    def mean(self, updates, cohort, memory):
        Memory.of(memory).noted = Noted((1 / len(updates),) * len(updates))
        return updates.mean(dim=0)

    monkeypatch.setattr(MedianOfMeans, "step", mean)
    with pytest.raises(IdentityError, match="not in proportion to one over the distance"):
        held(SIX.but(num_clients=clients), rows, rounds=4)
