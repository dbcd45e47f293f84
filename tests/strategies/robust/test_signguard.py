from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.errors import IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario
from fedcore.strategies.robust import signguard
from fedcore.strategies.robust.signguard import SignGuard, largest_cluster, sign_shares

FIVE = Scenario(strategy="signguard", num_clients=5, fraction_train=1.0, sampled_share=1.0)


def benign(seed: int, clients: int, width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Updates about one direction, most of whose coordinates are positive."""
    generator = np.random.default_rng(seed)
    rows = 1 + 0.7 * generator.standard_normal((clients, width))
    return torch.from_numpy(rows).to(dtype)


def test_by_hand(held) -> None:
    """Lengths 5, 10, 5, 5, 50: the median is 5; the last two have other signs, and length."""
    rows = [[3.0, 4.0], [6.0, 8.0], [4.0, 3.0], [-3.0, -4.0], [30.0, 40.0]]
    step, memory = held(FIVE, rows, samples=[1, 1, 1, 90, 1])  # unweighted
    assert memory.noted.coefficients == pytest.approx((1 / 3, 1 / 6, 1 / 3, 0, 0))
    assert step.tolist() == pytest.approx([10 / 3, 11 / 3])
    step, memory = held(FIVE.but(greatest_length=10.0), rows)
    assert memory.noted.coefficients == pytest.approx((1 / 4, 1 / 8, 1 / 4, 0, 1 / 40))


def test_shares_of_signs() -> None:
    rows = torch.tensor([[1.0, 0.0, -2.0, 5.0], [-1.0, -1.0, 0.0, -0.0]])
    assert sign_shares(rows).tolist() == [[0.5, 0.25, 0.25], [0, 0.5, 0.5]]


def test_clusters_are_those_of_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    sizes = set()
    for seed in range(12):
        generator = np.random.default_rng(seed)
        size = int(generator.integers(4, 20))
        points = 0.1 * generator.standard_normal((size, 3))
        points[: int(generator.integers(0, size))] += generator.random()
        width = cluster.estimate_bandwidth(points, quantile=0.5)
        labels = cluster.MeanShift(bandwidth=width).fit(points).labels_
        largest = labels == np.bincount(labels).argmax()
        assert (largest_cluster(points) == largest).all()
        sizes.add(largest.mean())
    assert len(sizes) > 3


def test_equal_points_are_one_cluster() -> None:
    assert largest_cluster(np.ones((4, 3))).all()
    assert largest_cluster(np.array([[0.0], [0.0], [0.0], [1.0]])).tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("share", [0.1, 1.0])
@settings(max_examples=8)
@given(st.integers(0, 2**31))
def test_steps_are_those_of_the_definition(held, share, seed) -> None:
    scenario = FIVE.but(num_clients=9, sampled_share=share)
    for width in (100, 600):
        for dtype in (torch.float32, torch.float64):
            rows = benign(seed, 9, width, dtype)
            rows[0] *= -1
            rows[1] *= 5
            held(scenario, rows, rounds=2)


@given(st.integers(0, 2**31), st.floats(-1e9, 1e9))
def test_no_step_is_longer_than_the_median_length(held, seed, size) -> None:
    rows = benign(seed, 5, 8)
    rows[:2] *= size
    step, _ = held(FIVE, rows)
    assert step.norm() <= rows.norm(dim=1).median() * (1 + 1e-9)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_order_and_unit_do_not_matter_and_a_common_part_does(cohort, seed) -> None:
    rows = benign(seed, 7, 40)
    rows[0] *= -1
    rule, order = SignGuard(), np.random.default_rng(seed).permutation(7)
    step = rule.step(rows, cohort(rows), {})
    torch.testing.assert_close(rule.step(rows[order], cohort(rows), {}), step)
    torch.testing.assert_close(rule.step(1e6 * rows, cohort(rows), {}), 1e6 * step)
    moved = rule.step(rows - 1, cohort(rows), {})
    assert (moved - (step - 1)).norm() > 1e-3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spoilt_rows_neither_crash_nor_win(held, value, dtype) -> None:
    rows = benign(1, 7, 60, dtype)
    rows[2, 5] = value
    rows[4] = value
    step, memory = held(FIVE.but(num_clients=7), rows)
    assert bool(step.isfinite().all())
    assert memory.noted.coefficients[2] == memory.noted.coefficients[4] == 0
    spoilt = torch.full((5, 3), float("nan"))
    assert not SignGuard().step(spoilt, None, {}).isfinite().any()  # type: ignore[arg-type]


def test_signs_are_counted_among_a_draw_of_the_round() -> None:
    memory = Memory()
    first = SignGuard().drawn(memory, 1000)
    assert len(set(first.tolist())) == 100
    assert (first == SignGuard().drawn(memory, 1000)).all()
    memory.round = 2
    assert (first != SignGuard().drawn(memory, 1000)).any()


def test_fewer_than_three_clients_are_refused() -> None:
    with pytest.raises(ScenarioError, match="'signguard' of fewer than 3 clients"):
        FIVE.but(num_clients=2)


@pytest.mark.parametrize(
    ("name", "bug", "message"),
    [
        ("clip_factors", lambda norms, most: norms * 0 + 1, "does not clip its updates to the"),
        (
            "clip_factors",
            lambda norms, most: (most / norms).clamp(max=1) ** 2,
            "to different lengths",
        ),
        ("largest_cluster", lambda points: np.ones(len(points), bool), "it trusts others than"),
        ("sign_shares", lambda rows: rows[:, :3].double().numpy(), "it miscounts the signs of"),
    ],
    ids=["unclipped", "squared", "no clusters", "no signs"],
)
def test_other_filters_and_clippings_are_refused(held, monkeypatch, name, bug, message) -> None:
    rows = benign(0, 7, 60)
    rows[0] *= -1
    rows[1:3] *= 1.5
    scenario = FIVE.but(num_clients=7)
    held(scenario, rows)
    monkeypatch.setattr(signguard, name, bug)
    with pytest.raises(IdentityError, match=message):
        held(scenario, rows)


def test_another_clipping_is_seen_in_a_large_model_too(held, monkeypatch) -> None:
    rows = benign(0, 7, 3000)
    rows[1:4] *= torch.tensor([[1.2], [1.3], [1.4]])
    held(FIVE.but(num_clients=7), rows)
    squared = lambda norms, most: (most / norms).clamp(max=1) ** 2  # noqa: E731
    monkeypatch.setattr(signguard, "clip_factors", squared)
    with pytest.raises(IdentityError, match="leaves a long update unclipped"):
        held(FIVE.but(num_clients=7), rows, rounds=8)


@pytest.mark.parametrize(
    ("name", "bug", "message"),
    [
        ("largest_cluster", lambda points: np.ones(len(points), bool), "it trusts others than"),
        ("clip_factors", lambda norms, most: norms * 0 + 1, "does not clip its updates to the"),
        ("clip_factors", lambda norms, most: norms * 0 + 0.5, "does not clip its updates to the"),
        ("sign_shares", lambda rows: np.full((len(rows), 3), 1 / 3), "it miscounts the signs of"),
        ("lengths", lambda rows, origin: rows.double().norm(dim=1) / 2, "for one of"),
    ],
    ids=["all trusted", "unclipped", "half", "no signs", "half lengths"],
)
def test_in_a_large_model_too(held, monkeypatch, name, bug, message) -> None:
    """Where all are trusted and none clipped the step is FedAvg's of clients of equal samples."""
    rows = benign(0, 7, 3000)
    rows[0] *= -1
    rows[1:3] *= 1.5
    scenario = FIVE.but(num_clients=7)
    held(scenario, rows)
    monkeypatch.setattr(signguard, name, bug)
    with pytest.raises(IdentityError, match=message):
        held(scenario, rows)


def test_who_trusts_all_from_the_second_round_on_is_found_later(held, monkeypatch) -> None:
    """Clusters are made a second time in the first round, and in a tenth of the others."""
    rows, honest, calls = benign(0, 7, 3000), signguard.largest_cluster, []

    def sometimes(points):
        calls.append(points)
        return honest(points) if len(calls) == 1 else np.ones(len(points), bool)

    rows[0] *= -1
    monkeypatch.setattr(signguard, "largest_cluster", sometimes)
    with pytest.raises(IdentityError, match="it trusts others than"):
        held(FIVE.but(num_clients=7), rows, rounds=60)
