from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.scenario import Scenario

ADAPTIVE = ["fedadam", "fedyogi"]
BASE = Scenario(strategy="fedadam", server_lr=1.0, tau=0.1)


def steps(cohort, scenario, means):
    strategy, memory = scenario.parts.strategy, {}
    made = []
    for mean in means:
        sent = cohort([[mean - 1], [mean + 1]])
        made.append(strategy.step(sent.updates, sent, memory).item())
    return made


def test_adam_by_hand(cohort) -> None:
    """d = 1: m = 0.1, 0.19; v = 0.99 * 0.01 + 0.01 = 0.0199, then 0.029701."""
    expected = [0.1 / (0.0199**0.5 + 0.1), 0.19 / (0.029701**0.5 + 0.1)]
    assert expected == pytest.approx([0.41482, 0.69765], abs=1e-4)
    assert steps(cohort, BASE, [1.0, 1.0]) == pytest.approx(expected)


def test_yogi_by_hand(cohort) -> None:
    """d = 1, 1, 0.1: v = 0.01 + 0.01, 0.03, 0.03 - 0.01 * 0.01; m = 0.1, 0.19, 0.181."""
    expected = [
        0.1 / (0.02**0.5 + 0.1),
        0.19 / (0.03**0.5 + 0.1),
        0.181 / (0.0299**0.5 + 0.1),
    ]
    made = steps(cohort, BASE.but(strategy="fedyogi"), [1.0, 1.0, 0.1])
    assert made == pytest.approx(expected)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_mean_is_weighted_by_samples(name, cohort) -> None:
    strategy = BASE.but(strategy=name).parts.strategy
    weighted, plain = cohort([[1.0], [5.0]], samples=(3, 1)), cohort([[2.0], [2.0]])
    one = strategy.step(weighted.updates, weighted, {})
    torch.testing.assert_close(one, strategy.step(plain.updates, plain, {}))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_large_tau_is_fedavg_with_server_momentum(name, cohort) -> None:
    """tau -> infinity: the step is server_lr / (2 tau) times m."""
    scenario = BASE.but(strategy=name, tau=1e6, server_lr=2e6, server_momentum=0.0, beta_2=1 - 1e-9)
    assert steps(cohort, scenario, [3.0, -2.0]) == pytest.approx([3.0, -2.0], rel=1e-5)


@pytest.mark.parametrize("name", ADAPTIVE)
@given(scale=st.floats(1.0, 1e6))
def test_the_first_step_is_bounded_whatever_the_scale(name, cohort, scale) -> None:
    """m / sqrt(v) = 0.1 |d| / sqrt(0.01 d^2) = 1 at most."""
    (made,) = steps(cohort, BASE.but(strategy=name), [scale])
    assert 0 < made <= 1 + 1e-9
