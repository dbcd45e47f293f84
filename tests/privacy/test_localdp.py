"""localdp: what is added, to whom, and what the account says."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from fedcore.errors import PrivacyError
from fedcore.privacy.gaussian import epsilon_of, noise_multiplier
from fedcore.privacy.statement import PrivacyStatement
from fedcore.records import decode
from tests.privacy.conftest import Silence, cohort_of, zero_state

DP = {"privacy": "localdp", "epsilon": 1.0}


def test_sigma_is_tied_to_the_clip_norm_and_the_relation(linear, mechanism_for) -> None:
    z = noise_multiplier(1.0, 1e-5)
    assert mechanism_for(linear, **DP, clip_norm=0.5).sigma == pytest.approx(z * 2 * 0.5)
    alone = mechanism_for(linear, **DP, clip_norm=0.5, neighbours="zero-out")
    assert alone.sigma == pytest.approx(z * 0.5)


def test_noise_is_the_clients_own_stream_on_the_clipped_update(linear, mechanism_for) -> None:
    updates = torch.randn(4, linear.size, generator=torch.Generator().manual_seed(0))
    mechanism = mechanism_for(linear, **DP, clip_norm=0.5)
    sent = mechanism.privatise(zero_state(linear), cohort_of(updates), 7).updates
    clipped = updates * (0.5 / updates.norm(dim=1).clamp_min(0.5))[:, None]
    for client, row in enumerate(sent):
        noise = mechanism.run.noise.normal(linear.size, round=7, client=client)
        torch.testing.assert_close(row, clipped[client] + (mechanism.sigma * noise).float())
    # who else took part does not matter
    alone = mechanism.privatise(zero_state(linear), cohort_of(updates[2:3], clients=(2,)), 7)
    assert torch.equal(alone.updates[0], sent[2])


def test_measured_deviation_is_sigma(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, clients=1500, **DP)
    updates = torch.zeros(1500, linear.size)
    sent = mechanism.privatise(zero_state(linear), cohort_of(updates), 1).updates
    assert float(sent.std()) == pytest.approx(mechanism.sigma, rel=0.03)


def test_zero_nan_and_infinite_updates_are_noise_alone(linear, mechanism_for) -> None:
    updates = torch.zeros(3, linear.size)
    updates[1, 0], updates[2, 3] = float("nan"), float("inf")
    mechanism = mechanism_for(linear, **DP)
    sent = mechanism.privatise(zero_state(linear), cohort_of(updates), 1).updates
    for client, row in enumerate(sent):
        noise = mechanism.run.noise.normal(linear.size, round=1, client=client)
        torch.testing.assert_close(row, (mechanism.sigma * noise).float())
    assert mechanism.statement().non_finite == 2


def test_integer_counters_do_not_enter_the_norm(normed, mechanism_for) -> None:
    """The update that LocalDpMod destroys passes."""
    updates = torch.zeros(1, normed.size)
    updates[0, 0] = 0.32
    counters = torch.full((1, normed.num_counters), 8)
    mechanism = mechanism_for(normed, **DP, norm="batch", noise=Silence())
    sent = mechanism.privatise(zero_state(normed), cohort_of(updates, counters), 1)
    assert torch.equal(sent.updates, updates)
    assert torch.equal(sent.counters, torch.zeros_like(counters)), "frozen: counters stay"


def test_buffers_enter_norm_and_noise_when_they_are_released(normed, mechanism_for) -> None:
    updates = torch.zeros(1, normed.size)
    updates[0, 0], updates[0, normed.num_parameters] = 3.0, 4.0
    for buffers, wanted in (("frozen", (1.0, 0.0)), ("released", (0.6, 0.8))):
        mechanism = mechanism_for(normed, **DP, norm="batch", buffers=buffers, noise=Silence())
        row = mechanism.privatise(zero_state(normed), cohort_of(updates), 1).updates[0]
        assert (float(row[0]), float(row[normed.num_parameters])) == pytest.approx(wanted)


def test_head_only_sends_nothing_else(linear, mechanism_for) -> None:
    updates = torch.ones(1, linear.size)
    mechanism = mechanism_for(linear, **DP, released="head")
    row = mechanism.privatise(zero_state(linear), cohort_of(updates), 1).updates[0]
    assert torch.equal(row[:12], torch.zeros(12))
    assert bool((row[12:] != 0).all())


def test_each_client_pays_for_its_own_participations(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, **DP)
    for round, clients in enumerate([(0, 1), (0, 2), (0, 1)], start=1):
        cohort = cohort_of(torch.zeros(2, linear.size), clients=clients)
        mechanism.privatise(zero_state(linear), cohort, round)
    told = mechanism.statement()
    assert told.participations == (3, 2, 1, 0)
    mu = 1 / noise_multiplier(1.0, 1e-5)
    assert told.epsilons == pytest.approx([epsilon_of(mu * t**0.5, 1e-5) for t in (3, 2, 1, 0)])
    assert told.epsilon_total == told.epsilons[0]
    assert told.epsilon_round == pytest.approx(told.epsilon_nominal) == pytest.approx(1.0)
    assert told.max_participations == 3


def test_the_budget_ends_a_run_before_the_first_client_exceeds_it(linear, mechanism_for) -> None:
    """At epsilon 1 a release, 2 releases cost 1.465 and 3 cost 1.835."""
    cohorts = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3))
    mechanism = mechanism_for(linear, **DP, epsilon_budget=1.5)
    assert mechanism.affordable(cohorts) == cohorts[:3]
    assert mechanism.statement().stopped == 4
    assert mechanism_for(linear, **DP, epsilon_budget=1.0).affordable(cohorts) == cohorts[:1]
    assert mechanism_for(linear, **DP, epsilon_budget=1.9).affordable(cohorts) == cohorts
    assert mechanism_for(linear, **DP).affordable(cohorts) == cohorts


def test_a_client_twice_in_the_first_round_can_exceed_any_budget(linear, mechanism_for) -> None:
    with pytest.raises(PrivacyError, match=r"epsilon_budget=1.2 is less than the epsilon 1\.4"):
        mechanism_for(linear, **DP, epsilon_budget=1.2).affordable(((0, 0),))


def test_the_statement_says_everything_and_survives_json(linear, mechanism_for) -> None:
    mechanism = mechanism_for(linear, **DP, epsilon_budget=5.0)
    mechanism.privatise(zero_state(linear), cohort_of(torch.ones(4, linear.size)), 1)
    told = mechanism.statement()
    text = json.dumps(dataclasses.asdict(told), allow_nan=False)
    assert decode.read(PrivacyStatement, json.loads(text)) == told
    lines = " ".join(told.lines())
    for fact in (
        "a client's whole data", "the server", "(replace)", "15 of 15 parameters", "clip norm 1",
        "sigma 7.461", "delta 1e-05", "epsilon 1 a release", "1 releases at most", "Balle & Wang",
        "fedcore 0.", "not secret", "in clear", "malicious clients run",
    ):  # fmt: skip
        assert fact in lines, fact
    assert told.clipped == 1.0
