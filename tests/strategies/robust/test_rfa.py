from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.scenario import Scenario

BASE = Scenario(strategy="rfa")
ONCE = BASE.but(aggregation_iterations=1)


def step(cohort, rows, scenario=BASE, **facts):
    sent = cohort(rows, **facts)
    return scenario.parts.strategy.step(sent.updates, sent, {})


def test_one_iteration_by_hand(cohort) -> None:
    """Mean 1, distances 1 1 2: 0 0 3 weigh 1 1 1/2, so v = 1.5 / 2.5."""
    assert step(cohort, [[0.0], [0.0], [3.0]], ONCE).item() == pytest.approx(0.6)
    # p = (1/2, 1/4, 1/4): mean 3/4, distances 3/4 3/4 9/4: pulls 2/3 1/3 1/9, v = (1/3) / (10/9)
    weighted = step(cohort, [[0.0], [0.0], [3.0]], ONCE, samples=(2, 1, 1))
    assert weighted.item() == pytest.approx(0.3)


def test_the_point_that_sees_the_sides_of_a_triangle_alike(cohort) -> None:
    """Fermat's point of (-1, 0), (1, 0), (0, 3): each side under 120 degrees, so y = tan 30."""
    made = step(cohort, [[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    assert made.tolist() == pytest.approx([0.0, 1 / math.sqrt(3)], abs=2e-3)


def test_a_client_with_most_of_the_samples_decides(cohort) -> None:
    made = step(cohort, [[5.0, 5.0], [0.0, 0.0], [9.0, 0.0]], samples=(90, 5, 5))
    assert made.tolist() == pytest.approx([5.0, 5.0], abs=1e-2)


@given(st.integers(0, 2**31), st.sampled_from([1e2, 1e5, 1e9]))
def test_no_direction_improves_the_sum_of_distances(cohort, seed, far) -> None:
    generator = np.random.default_rng(seed)
    rows = torch.from_numpy(generator.standard_normal((7, 4)))
    rows[:2] *= far
    made = step(cohort, rows)
    total = (rows - made).norm(dim=1).sum()
    for shift in torch.from_numpy(0.3 * generator.standard_normal((20, 4))):
        assert (rows - made - shift).norm(dim=1).sum() > total - 1e-5 * total
    # two of seven: at most 2 m / (K - 2 m) times the honest spread away, times the honest radius
    assert made.norm() < 20


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_left_out(cohort, value) -> None:
    rows = [[value, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]]
    torch.testing.assert_close(step(cohort, rows, samples=(9, 1, 1, 1)), step(cohort, rows[1:]))
    assert step(cohort, [[value]] * 3).isfinite().logical_not().all()


def test_a_wide_smoothing_is_fedavg(cohort) -> None:
    rows, wide = [[0.0], [0.0], [3.0]], BASE.but(smoothing=10.0)
    assert step(cohort, rows, wide, samples=(2, 1, 1)).item() == pytest.approx(0.75)


def test_of_two_clients_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"fewer than 3 clients.*cohort of 2"):
        BASE.but(num_clients=4)


def test_a_round_that_does_not_converge_is_said(cohort) -> None:
    sent = cohort([[0.0], [0.0], [3.0]])
    strategy, memory = BASE.but(aggregation_iterations=2).parts.strategy, Memory()
    assert strategy.remarks(memory) == ()
    strategy.step(sent.updates, sent, memory)
    # from 1 to 0.6, then pulls 1/0.6 1/0.6 1/2.4 make (3 / 2.4) / 3.75 = 1/3; median distance 0.6
    (text,) = strategy.remarks(memory)
    assert "did not converge within aggregation_iterations=2 in 1 of 1 rounds" in text
    assert "its last move was up to 0.44 of the median distance from it, 1e-05 is" in text
    alike = cohort([[1.0], [1.0], [1.0]])
    strategy.step(alike.updates, alike, memory)
    assert "in 1 of 2 rounds" in strategy.remarks(memory)[0]
    settled, other_run = BASE.parts.strategy, Memory()
    settled.step(alike.updates, alike, other_run)
    assert settled.remarks(other_run) == ()


def test_the_record_and_the_summary_say_what_did_not_converge() -> None:
    from fedcore.console import summary
    from fedcore.records.record import Record
    from fedcore.simulation.runner import run

    scenario = Scenario(
        dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
        strategy="rfa", aggregation_iterations=1,
    )  # fmt: skip
    record = run(scenario)
    (note,) = record.audit.notes
    assert "in 2 of 2 rounds" in note
    assert Record.from_json(record.to_json()) == record
    assert "geometric median did not converge within" in " ".join(summary(record).split())
    assert run(scenario.but(aggregation_iterations=100)).audit.notes == ()
