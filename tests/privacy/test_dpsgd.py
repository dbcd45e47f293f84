"""DP-SGD through Opacus: the noise it promises, the account, what it refuses."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedcore.errors import PrivacyError, ScenarioError
from fedcore.exchange.layout import Layout
from fedcore.optimizers.solvers import SgdSolver
from fedcore.privacy.dpsgd import DpSgdSteps, sampling_rate
from fedcore.privacy.sampled import replace_epsilon
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

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


def steps_of(
    model: nn.Module,
    labels: torch.Tensor,
    images: Any,
    *,
    secret: bool = False,
    steps: int = 1,
    order: Any = None,
    **fields: Any,
):
    """The change that one step of learning rate 1 makes, all samples taken."""
    scenario = Scenario(**{**DP, "optimizer": "sgd", "lr": 1.0, **fields})
    layout = Layout.of(model)
    vector, counters = layout.flatten(model.state_dict())
    gradient = torch.zeros(layout.num_parameters)
    layout.bind(model, vector, counters, gradient)
    before = vector.clone()
    solver = SgdSolver(scenario)
    solver.start(before)
    private = DpSgdSteps(scenario, model, layout)
    private.secret = secret
    private.work(
        noise=(0, 1, 2),
        steps=steps,
        images=images if callable(images) else lambda chosen: images[chosen],
        labels=labels,
        order=order or np.random.default_rng(0),
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
    pytest.importorskip("opacus")
    one, two = run(RUN, 1), run(RUN, 1)
    assert one.model_digest == two.model_digest
    told = one.audit.privacy
    assert told is not None
    assert told.unit == "one training sample of a client"
    assert sum(told.participations) == sum(map(len, one.audit.cohorts))
    client = told.participations.index(told.max_participations)
    samples = one.audit.samples[client]
    rate = min(1.0, 32 / samples)
    steps = told.max_participations * -(-samples // 32)
    assert told.epsilons[client] == pytest.approx(replace_epsilon(rate, 1.0, steps, 1e-5))
    assert told.epsilon_total >= told.epsilon_round
    assert "replaced" in told.relation, "neighbours of which both have the count that is sent"
    assert told.sensitivity == 2 * told.clip_norm
    assert told.clipped is None


def test_secret_steps_take_noise_and_samples_from_the_system() -> None:
    """Noise of the promised size, no draw of the run's streams, never the same twice."""
    pytest.importorskip("opacus")
    images, labels = torch.zeros(4, 500), torch.zeros(4, dtype=torch.int64)
    fields = {"noise_multiplier": 8.0, "batch_size": 4, "clip_norm": 0.5}
    seeded, one, two = (
        steps_of(nn.Linear(500, 20), labels, images, secret=secret, **fields)
        for secret in (False, True, True)
    )
    for change in (one, two):
        assert float(change.std()) == pytest.approx(8.0 * 0.5 / 4, rel=0.05)
        assert abs(float(torch.corrcoef(torch.stack((change, seeded)))[0, 1])) < 0.05
    assert abs(float(torch.corrcoef(torch.stack((one, two)))[0, 1])) < 0.05


def test_secret_steps_choose_samples_at_the_rate() -> None:
    """Not from the order that the run's seed gives, of which each sample here would be left out."""
    pytest.importorskip("opacus")
    taken = []

    class Never:
        def random(self, size: int):
            return np.ones(size)

    def images(chosen):
        taken.append(len(chosen))
        return torch.zeros(len(chosen), 3)

    steps_of(
        nn.Linear(3, 2), torch.zeros(400, dtype=torch.int64), images, secret=True, steps=50,
        order=Never(), batch_size=100,
    )  # fmt: skip
    # 50 steps of 400 samples at 1/4: 5,000 of 20,000, deviation 61
    assert sum(taken) == pytest.approx(5000, abs=370)
