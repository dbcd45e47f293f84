"""Bugs planted in the code that computes: each must turn a cell red and say what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario, run
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.data.pairflip import PairFlip
from fedcore.attacks.data.targetedflip import TargetedFlip
from fedcore.data.loading import load
from fedcore.errors import AttackError, IdentityError
from fedcore.exchange.cohort import Cohort
from fedcore.federation import threat
from fedcore.harness.proofs.audit import audit_problems, effect_problems
from fedcore.harness.reports.explain import explain_row
from fedcore.harness.reports.rows import row
from fedcore.harness.reports.table import footer
from fedcore.harness.statistics.estimates import CellVerdict, Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome, judge_cell
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.optimizers.solvers import SgdSolver
from fedcore.scenario import round_half_up
from fedcore.strategies.averaging import fedavg
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.averaging.fednova import FedNova
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.strategy import STRATEGIES, combine

pytest_plugins = ["pytester"]

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=6, fraction_train=1.0, rounds=1,
    strategy="fednova", optimizer="sgd", local_epochs=(1, 3),
)  # fmt: skip
ATTACKED = CLEAN.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=0.6)
CELL = Cell("cell", ATTACKED, 1)
ALL = sorted(set(STRATEGIES) - {"flower"})  # runs strategies that are not ours


def judged(cell: Cell = CELL) -> Outcome:
    found = {r: run(r.scenario, r.seed, device="cpu") for r in cell.runs([0])}
    return judge_cell(cell, [0], found, Thresholds((), Noise(2, 4)))


def of(strategy: str) -> Scenario:
    extra: dict[str, dict[str, Any]] = {
        "fedbn": {"norm": "batch", "model": "cnn"},
        "bulyan": {"num_clients": 8, "fraction_train": 1.0},  # it takes a cohort of 7
    }
    return CLEAN.but(strategy=strategy, **extra.get(strategy, {}))


@pytest.mark.parametrize("attack", ["labelflip", "pairflip", "targetedflip"])
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 1.0])
def test_nothing_planted_nothing_found(attack: str, redraw: bool, ratio: float) -> None:
    classes = {"source_class": 1, "target_class": 7} if attack == "targetedflip" else {}
    scenario = ATTACKED.but(attack=attack, poison_ratio=ratio, rounds=2, redraw=redraw, **classes)
    outcome = judged(Cell("cell", scenario, 1))
    assert outcome.errors == ()
    assert outcome.verdict is CellVerdict.NO_LIMIT


def test_fednova_that_is_silently_fedavg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FedNova, "step", FedAvg.step)
    with pytest.raises(IdentityError, match="an arm named 'fednova' equals FedAvg's"):
        run(CLEAN, device="cpu")


@pytest.mark.parametrize("solver", [{}, {"optimizer": "momentum", "momentum": 0.9}])
def test_fednova_whose_normalizers_do_not_know_the_work(
    monkeypatch: pytest.MonkeyPatch, solver: dict[str, Any]
) -> None:
    monkeypatch.setattr(SgdSolver, "normalizer", lambda self, steps: 1.0)
    with pytest.raises(IdentityError, match="an arm named 'fednova' equals FedAvg's"):
        run(CLEAN.but(**solver), device="cpu")


def test_fednova_whose_effective_steps_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = FedNova.coefficients

    def divided(cohort: Cohort) -> torch.Tensor:
        return rightly(cohort) / rightly(cohort).sum()

    monkeypatch.setattr(FedNova, "coefficients", staticmethod(divided))
    with pytest.raises(IdentityError, match="'fednova' does not step by tau_eff") as caught:
        run(CLEAN, device="cpu")
    assert "times that" in str(caught.value)


def test_a_label_flip_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for attack in (LabelFlip, PairFlip, TargetedFlip):
        monkeypatch.setattr(attack, "relabel", lambda self, labels, *_: labels)
    with pytest.raises(AttackError, match="changed none of their labels"):
        run(ATTACKED, device="cpu")


def test_a_label_flip_that_draws_from_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    def relabel(self: Any, labels: Any, classes: int, generator: Any) -> Any:
        return generator.integers(0, classes, size=len(labels))

    monkeypatch.setattr(LabelFlip, "relabel", relabel)
    outcome = judged()
    assert outcome.verdict is CellVerdict.ERROR
    assert "changed fewer labels than it poisoned: client" in outcome.errors[0]


def test_poison_at_half_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threat, "round_half_up", lambda value: round_half_up(value / 2))
    outcome = judged()
    assert outcome.verdict is CellVerdict.ERROR
    (message,) = outcome.errors
    assert "seed 0 poisoned other numbers of samples than poison_ratio=0.6 asks for" in message
    assert message.count("instead of") == 3


def test_poison_at_half_the_ratio_that_is_counted_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Any, labels: Any, classes: int, generator: Any) -> Any:
        new = (labels + 1) % classes
        return np.where(np.arange(len(labels)) % 2 == 0, labels, new)

    monkeypatch.setattr(LabelFlip, "relabel", half)
    assert "changed fewer labels than it poisoned" in judged().errors[0]


def true_labels(self: threat.Threat, client: int) -> Any:
    return load(self.scenario.dataset).train.labels.numpy()[self.parts[client]]


def test_poisoned_labels_that_nobody_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def clean(self: threat.Threat, client: int, round: int) -> Any:
        return true_labels(self, client)

    monkeypatch.setattr(threat.Threat, "labels_of", clean)
    (message,) = judged().errors
    assert "seed 0 trained on 0 of 40 poisoned labels of client 0 in round 1; 0 of " in message


def test_too_few_malicious_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = threat.malicious_clients
    monkeypatch.setattr("fedcore.federation.threat.malicious_clients", lambda *a: drawn(*a)[:-1])
    (message,) = judged().errors
    assert "has 2 malicious clients, malicious_fraction=0.5 of 6 asks for 3" in message


def test_an_audit_of_other_clients_and_poison_in_a_clean_run() -> None:
    attacked = run(ATTACKED, device="cpu")
    others = dataclasses.replace(attacked.audit, poison=attacked.audit.poison[::-1])
    (message,) = audit_problems(dataclasses.replace(attacked, audit=others))
    assert "poisoned other clients than the malicious ones" in message
    (message,) = audit_problems(dataclasses.replace(attacked, scenario=CLEAN))
    assert f"{CLEAN.id} seed 0 has no attack, yet poisoned samples on client" in message


@pytest.mark.parametrize(
    ("target", "name", "bug", "message"),
    [
        (FedNova, "step", FedAvg.step, "an arm named 'fednova' equals FedAvg's"),
        (
            SgdSolver, "normalizer", lambda self, steps: steps**0.5,
            "(the square root of the steps)",
        ),
        (
            FedAvg, "step", lambda self, rows, cohort, memory: 0.5 * combine(rows, cohort.weights),
            "'fedavg' does not step by the sample-weighted mean: it equals 0.5 times that",
        ),
        (
            fedavg, "combine", lambda rows, weights: rows.quantile(0.5, dim=0),
            "'fedavg' does not step by the sample-weighted mean: it equals the median of every",
        ),
        (
            LabelFlip, "relabel", lambda self, labels, *_: labels,
            "changed none of their labels",
        ),
        (
            threat, "round_half_up", lambda value: round_half_up(value / 2),
            "poisoned other numbers of samples than poison_ratio=1 asks for",
        ),
        (
            threat.Threat, "labels_of",
            lambda self, client, round: true_labels(self, client),
            "trained on 0 of",
        ),
    ],
    ids=[
        "fednova is fedavg", "square roots", "half steps", "fedavg is the median",
        "label flip off", "half the ratio", "nobody",
    ],
)  # fmt: skip
def test_a_suite_is_red_and_names_the_cause(
    suite: Any, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, bug: Any, message: str
) -> None:
    monkeypatch.setattr(target, name, bug)
    result = suite.run("-k", "fednova and labelflip")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, deselected=6)
    assert message in suite.text(result)
    assert [cell["verdict"] for cell in suite.results()] == ["ERROR"]


def test_a_cell_says_which_runs_did_not_converge() -> None:
    once = CLEAN.but(strategy="rfa", aggregation_iterations=1)
    outcome = judged(Cell("rfa", once, 1))
    assert outcome.errors == ()
    (note,) = outcome.notes
    assert note.startswith(f"{once.id}")
    cell = row(outcome)
    assert cell["notes"] == [note]
    assert "did not converge within aggregation_iterations=1 in 1 of 1 rounds" in explain_row(
        cell, "pytest"
    )
    assert "noted: " in "\n".join(footer([cell]))
    assert judged(Cell("rfa", once.but(aggregation_iterations=100), 1)).notes == ()


@pytest.mark.parametrize("rule", [FedAvg, Bucketing])
def test_an_attack_without_a_trace_where_a_rule_may_ignore_clients(
    monkeypatch: pytest.MonkeyPatch, rule: Any
) -> None:
    scenario = ATTACKED.but(strategy="fedavg", preaggregation="bucketing")
    poisoned, clean = (run(s, device="cpu") for s in (scenario, scenario.clean_twin()))
    assert effect_problems(clean, poisoned) == []
    alike = dataclasses.replace(poisoned, model_digest=clean.model_digest)
    (message,) = effect_problems(clean, alike)
    assert "ends in its clean twin's model, bit for bit" in message
    monkeypatch.setattr(rule, "may_ignore_clients", True)
    assert effect_problems(clean, alike) == []
