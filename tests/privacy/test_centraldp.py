"""centraldp and clip: the same noise on the mean; no noise at all."""

from __future__ import annotations

import pytest
import torch

from fedcore.errors import ScenarioError
from fedcore.privacy.gaussian import noise_multiplier
from fedcore.scenario import Scenario
from fedcore.strategies.averaging.fedavg import FedAvg
from tests.privacy.conftest import Silence, cohort_of, zero_state

DP = {"privacy": "centraldp", "epsilon": 2.0}


def test_the_mean_gets_one_noise_of_the_stated_deviation(linear, mechanism_for) -> None:
    samples = (10, 10, 20, 40)
    mechanism = mechanism_for(linear, **DP, samples=samples)
    state = zero_state(linear)
    cohort = cohort_of(torch.zeros(4, linear.size), samples=samples)
    sent = mechanism.privatise(state, cohort, 3)
    made = FedAvg().aggregate(state, sent, linear.num_parameters).vector
    noise = mechanism.run.noise.normal(linear.size, round=3, client=-1).float()
    torch.testing.assert_close(made, noise * noise_multiplier(2.0, 1e-5) * 2 * 40 / 80)


def test_clients_of_less_weight_lose_less(linear, mechanism_for) -> None:
    samples = (10, 10, 20, 40)
    mechanism = mechanism_for(linear, **DP, samples=samples)
    cohort = cohort_of(torch.zeros(4, linear.size), samples=samples)
    mechanism.privatise(zero_state(linear), cohort, 1)
    epsilons = mechanism.statement().epsilons
    assert epsilons[3] == pytest.approx(2.0)
    assert epsilons[0] == epsilons[1] < epsilons[2] < epsilons[3]


def test_updates_are_clipped_before_the_mean(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, **DP, noise=Silence())
    updates = torch.zeros(2, linear.size)
    updates[0, 0], updates[1, 0] = 50.0, 0.5
    sent = mechanism.privatise(zero_state(linear), cohort_of(updates), 1).updates
    assert sent[:, 0].tolist() == [1.0, 0.5]
    assert "not the server" in mechanism.statement().against


def test_a_rule_that_is_no_mean_is_refused() -> None:
    with pytest.raises(ScenarioError, match="needs strategy='fedavg', got 'median'"):
        Scenario(**DP, strategy="median")


def test_clip_alone_promises_nothing(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, privacy="clip", clip_norm=0.5)
    updates = torch.zeros(2, linear.size)
    updates[0, 0], updates[1, 0] = 3.0, 0.25
    sent = mechanism.privatise(zero_state(linear), cohort_of(updates), 1).updates
    assert sent[:, 0].tolist() == [0.5, 0.25]
    told = mechanism.statement()
    assert (told.epsilon_round, told.epsilon_total, told.delta) == (None, None, None)
    assert told.epsilons == (None, None, 0.0, 0.0), "who sent nothing lost nothing"
    assert "epsilon infinite a release" in " ".join(told.lines())
