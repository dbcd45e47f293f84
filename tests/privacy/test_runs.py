"""Whole runs: repeatable, paired, ended by the budget, refused where nothing good can come."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fedcore.console import summary
from fedcore.engine.execution import Execution
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import PrivacyError, ScenarioError
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.suite.outcome import unpaired
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

TINY = Scenario(dataset="synthetic:120", model="mlp", num_clients=6, rounds=4, optimizer="sgd")
DP: dict[str, Any] = {"privacy": "localdp", "epsilon": 50.0}
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.5, "poison_ratio": 1.0}


def test_a_private_run_repeats_and_shares_all_but_the_noise() -> None:
    plain, private = run(TINY, 3), run(TINY.but(**DP), 3)
    assert run(TINY.but(**DP), 3).model_digest == private.model_digest != plain.model_digest
    assert plain.audit == dataclasses.replace(
        private.audit,
        privacy=None,
        identity=plain.audit.identity,
        client_accuracy=plain.audit.client_accuracy,
    )
    assert plain.audit.privacy is None
    assert Record.from_json(private.to_json()) == private


def test_noise_that_vanishes_leaves_the_plain_run() -> None:
    """epsilon 1e12 and a clip that clips nothing: the same model up to rounding."""
    huge = {"privacy": "localdp", "epsilon": 1e12, "clip_norm": 100.0}
    plain, private = run(TINY, 0), run(TINY.but(**huge), 0)
    assert private.accuracy == pytest.approx(plain.accuracy, abs=0.02)
    assert private.loss == pytest.approx(plain.loss, rel=1e-2)


def test_the_budget_ends_the_run_and_the_results_stay() -> None:
    scenario = TINY.but(**DP, rounds=30, eval_every=4, epsilon_budget=125.0)
    record = run(scenario, 0)
    told = record.audit.privacy
    rounds = len(record.audit.cohorts)
    assert told.stopped == rounds + 1 <= 30
    assert told.epsilon_total <= 125.0
    assert record.rounds == (*range(4, rounds, 4), rounds)
    assert len(record.accuracy) == len(record.rounds)
    assert f"stopped before round {rounds + 1}" in " ".join(told.lines())
    # the model is that of the same run without a budget that ends there
    short = run(scenario.but(rounds=rounds, epsilon_budget=None), 0)
    assert short.model_digest == record.model_digest
    assert audit_problems(record) == []
    struck = run(scenario.but(**ATTACK), 0)
    assert unpaired(record, struck) == []
    rounds = len(struck.audit.cohorts)
    assert f"in {sum(2 * n > 3 for n in struck.audit.malicious_per_round)} of {rounds} rounds" in (
        " ".join(summary(struck).split())
    )


def test_head_only_leaves_the_body_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    train = SequentialEngine.train

    def watched(self, state, round, clients):
        cohort = train(self, state, round, clients)
        seen.append((self.layout, cohort.updates.clone()))
        return cohort

    monkeypatch.setattr(SequentialEngine, "train", watched)
    run(TINY.but(**DP, released="head", weight_decay=0.1))
    for layout, updates in seen:
        assert layout.num_parameters - 650 > 0
        assert not updates[:, : layout.num_parameters - 650].any(), "clients do not move it"
        assert bool(updates[:, layout.num_parameters - 650 :].any())


@pytest.mark.parametrize("buffers", ["frozen", "released"])
def test_batch_norm_under_each_policy(monkeypatch: pytest.MonkeyPatch, buffers) -> None:
    states = []
    evaluate = SequentialEngine.evaluate

    def watched(self, state):
        states.append((self.layout, state))
        return evaluate(self, state)

    monkeypatch.setattr(SequentialEngine, "evaluate", watched)
    record = run(TINY.but(**DP, norm="batch", buffers=buffers))
    assert record.diverged is None
    layout, last = states[-1]
    statistics = last.vector[layout.num_parameters :]
    assert bool(torch.isfinite(statistics).all())
    if buffers == "frozen":
        assert torch.equal(statistics, states[0][1].vector[layout.num_parameters :])
        assert not last.counters.any()
    else:
        assert last.counters.all()


def test_an_engine_that_knows_nothing_of_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SequentialEngine, "trains_privately", False)
    with pytest.raises(PrivacyError, match=r"SequentialEngine cannot train .* --engine sequential"):
        run(TINY.but(**DP, released="head"))
    run(TINY.but(**DP, rounds=1))  # clip and noise come after training: any engine will do


def test_auto_takes_the_reference_engine_where_training_must_differ() -> None:
    assert Execution().fitting(TINY.but(**DP, released="head")).engine == "sequential"
    assert Execution().fitting(TINY.but(**DP)).engine == "auto"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**DP, "epsilon": 0}, "epsilon must be > 0, got 0"),
        ({**DP, "epsilon": -1}, "epsilon must be > 0, got -1"),
        ({**DP, "epsilon": float("nan")}, "epsilon must be > 0, got nan"),
        ({**DP, "delta": 0}, r"delta must be in \(0, 1\), got 0"),
        ({**DP, "delta": 1}, r"delta must be in \(0, 1\), got 1"),
        ({**DP, "clip_norm": 0}, "clip_norm must be > 0, got 0"),
        ({**DP, "clip_norm": -2}, "clip_norm must be > 0, got -2"),
        ({"privacy": "localdp"}, r"privacy 'localdp' needs epsilon \(> 0\)"),
        ({"privacy": "dpsgd"}, r"privacy 'dpsgd' needs noise_multiplier \(> 0\)"),
        ({"epsilon": 1.0}, r"epsilon=1\.0 is read by none of the chosen components"),
        ({"privacy": "clip", "epsilon": 1.0}, r"epsilon=1\.0 is read by none"),
        ({"privacy": "localdb", "epsilon": 1.0}, "Did you mean 'localdp'"),
        ({**DP, "epsilon_budget": 20.0}, "less than the epsilon 50 of a single release"),
        ({**DP, "norm": "batch", "buffers": "local"}, "without running statistics"),
        ({**DP, "released": "tail"}, "released must be one of whole, head, got 'tail'"),
        (
            {"privacy": "localdpmod", "epsilon": 1.0, "epsilon_budget": 1.2},
            r"less than the epsilon 1\.61 of a single release",
        ),
    ],
)
def test_bad_input(fields, message) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(**fields)


def test_names_tell_the_mechanism_and_what_differs_from_its_defaults() -> None:
    one = Scenario(**DP, released="head", clip_norm=0.5)
    assert one.id == "fedavg-iid-clean-localdp-epsilon50-clip0.5-head"
    assert Scenario(**DP, neighbours="zero-out").id.endswith("localdp-epsilon50-zeroout")


def test_a_record_that_lacks_its_statement_fails_the_audit() -> None:
    record = run(TINY.but(**DP, rounds=1))
    assert audit_problems(record) == []
    bare = dataclasses.replace(record, audit=dataclasses.replace(record.audit, privacy=None))
    assert "no privacy statement" in audit_problems(bare)[0]
