"""DP-SGD through Opacus: the noise it promises, the account, what it refuses."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedcore.engine.solvers import Sgd
from fedcore.errors import PrivacyError, ScenarioError
from fedcore.privacy.dpsgd import DpSgdSteps, sampling_rate
from fedcore.scenario import Scenario
from fedcore.simulation import run
from fedcore.vector import Layout

DP: dict[str, Any] = {"privacy": "dpsgd", "noise_multiplier": 1.0}
RUN = Scenario(
    dataset="synthetic:60",
    model="mlp",
    norm="group",
    num_clients=3,
    rounds=2,
    optimizer="sgd",
    **DP,
)


def test_batch_norm_is_refused_with_what_to_do() -> None:
    with pytest.raises(ScenarioError, match="set norm='group' or 'none'"):
        Scenario(**DP, norm="batch")


def test_without_opacus_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.grad_sample", None)
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(PrivacyError, match=r"needs Opacus .*\[privacy\]"):
        run(RUN)


def test_sampling_rate() -> None:
    assert (sampling_rate(16, 64), sampling_rate(16, 10), sampling_rate(16, 0)) == (0.25, 1.0, 0.0)


def steps_of(model: nn.Module, labels: torch.Tensor, images: torch.Tensor, **fields: Any):
    """The change that one step of learning rate 1 makes, all samples taken."""
    scenario = Scenario(**{**DP, "optimizer": "sgd", "lr": 1.0, **fields})
    layout = Layout.of(model)
    vector, counters = layout.flatten(model.state_dict())
    gradient = torch.zeros(layout.num_parameters)
    layout.bind(model, vector, counters, gradient)
    before = vector.clone()
    solver = Sgd(scenario)
    solver.start(before)
    steps = DpSgdSteps(scenario, model, layout)
    steps.work(
        noise=(0, 1, 2),
        steps=1,
        images=lambda chosen: images[chosen],
        labels=labels,
        order=np.random.default_rng(0),
        solver=solver,
        weights=vector,
        gradient=gradient,
    )
    return before - vector


def test_each_samples_gradient_is_clipped_before_the_mean() -> None:
    """One sample of a huge gradient moves the mean of 4 by at most C / 4."""
    pytest.importorskip("opacus")
    torch.manual_seed(0)
    model, images = nn.Linear(3, 2), torch.randn(4, 3)
    images[0] *= 1e4
    fields = {"noise_multiplier": 1e-9, "batch_size": 4, "clip_norm": 0.5}
    change = steps_of(model, torch.tensor([0, 1, 0, 1]), images, **fields)
    assert float(change.norm()) <= 0.5 + 1e-6


def test_noise_is_the_multiplier_times_the_norm_over_the_batch() -> None:
    pytest.importorskip("opacus")
    model = nn.Linear(500, 20)
    images, labels = torch.zeros(4, 500), torch.zeros(4, dtype=torch.int64)
    fields = {"noise_multiplier": 8.0, "batch_size": 4, "clip_norm": 0.5}
    change = steps_of(model, labels, images, **fields)
    assert float(change.std()) == pytest.approx(8.0 * 0.5 / 4, rel=0.05)


def test_a_run_states_what_each_client_spent_and_repeats() -> None:
    accountants = pytest.importorskip("opacus.accountants")
    one, two = run(RUN, 1), run(RUN, 1)
    assert one.model_digest == two.model_digest
    told = one.audit.privacy
    assert told is not None
    assert told.unit == "one training sample of a client"
    assert sum(told.participations) == sum(map(len, one.audit.cohorts))
    client = told.participations.index(told.max_participations)
    samples = one.audit.samples[client]
    accountant = accountants.RDPAccountant()
    rate = min(1.0, 32 / samples)
    accountant.history = [(1.0, rate, told.max_participations * -(-samples // 32))]
    assert told.epsilons[client] == pytest.approx(accountant.get_epsilon(delta=1e-5))
    assert told.epsilon_total >= told.epsilon_round
