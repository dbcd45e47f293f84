from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from fedcore import Scenario, run
from fedcore.federation.threat import ClientPoison
from fedcore.harness.runs.job import Failure
from fedcore.harness.statistics.estimates import CellVerdict, Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome, judge_cell, unpaired
from fedcore.harness.suite.thresholds import Threshold, Thresholds
from fedcore.records.record import Audit, Record
from fedcore.records.store import Run

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, rounds=1, strategy="fednova",
    local_epochs=(1, 3),
)  # fmt: skip
ATTACKED = CLEAN.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
CONTROL = ATTACKED.but(strategy="fedavg")
TARGETED = ATTACKED.but(attack="targetedflip", source_class=0, target_class=8)
NOISE = Noise(2.0, 4)
CELL = Cell("nova", ATTACKED, 3, CONTROL)
SEEDS = (0, 1, 2)
Accuracies = Mapping[Scenario, tuple[float, ...]]
USUAL: Accuracies = {
    CLEAN: (0.9, 0.92, 0.91),
    ATTACKED: (0.8, 0.81, 0.8),
    CONTROL.clean_twin(): (0.9, 0.9, 0.9),
    CONTROL: (0.5, 0.52, 0.5),
}


@pytest.fixture(scope="module")
def record() -> Record:
    learned = (0.9,) * 10  # what a test has no other value for: the arm can tell classes apart
    return dataclasses.replace(run(CLEAN, seed=0, device="cpu"), recall=(learned,))


def limits(**given: tuple[float | None, float | None]) -> Thresholds:
    entries = [Threshold(f"{m}.x", m, low, high, "r", {}) for m, (low, high) in given.items()]
    return Thresholds(tuple(entries), NOISE)


def audit(record: Record, scenario: Scenario) -> Audit:
    """The audit of ``record``, with two malicious clients where there is an attack.

    Without evidence of training: it would show that all of these are one run.
    """
    made_up = dataclasses.replace(record.audit, training=None, unseen="made up")
    if scenario.attack is None:
        return made_up
    poison = tuple(ClientPoison(client, 50, 50, 50, 50, draws=1) for client in (0, 2))
    return dataclasses.replace(made_up, malicious=(0, 2), poison=poison)


def results(record: Record, accuracies: Accuracies, **changes: Any) -> dict[Run, Any]:
    """The record of each run, with that accuracy; the ids of seeds are their places."""
    return {
        Run(scenario, seed): dataclasses.replace(
            record,
            scenario=scenario,
            seed=seed,
            rounds=(1,),
            accuracy=(value,),
            audit=audit(record, scenario),
            engine="flower-made-up",  # which may lack evidence
            model_digest=scenario.hash,
            **changes,
        )
        for scenario, values in accuracies.items()
        for seed, value in enumerate(values)
    }


def judged(record: Record, thresholds: Thresholds, accuracies: Accuracies = USUAL) -> Outcome:
    return judge_cell(CELL, SEEDS, results(record, accuracies), thresholds)


def test_accuracies_are_percent_and_drops_are_paired_by_seed(record: Record) -> None:
    outcome = judged(record, limits(drop=(None, 20), control=(3, None)))
    assert outcome.voids == outcome.unlimited == ()
    assert outcome.clean == pytest.approx((90, 92, 91))
    assert outcome.poisoned == pytest.approx((80, 81, 80))
    assert outcome.drop == pytest.approx((10, 11, 11))
    assert outcome.retention == pytest.approx(241 / 273)
    assert outcome.verdict is CellVerdict.PASS
    by_metric = {g.threshold.metric: g for g in outcome.gates}
    assert by_metric["drop"].estimate.mean == pytest.approx(32 / 3)
    assert by_metric["control"].estimate.mean == pytest.approx(118 / 3)
    assert (outcome.errors, outcome.diverged, outcome.asr) == ((), (), ())


@pytest.mark.parametrize(
    ("drop", "control", "verdict"),
    [
        ((None, 20), (3, None), CellVerdict.PASS),
        ((None, 5), (3, None), CellVerdict.FAIL),
        ((None, 11), (3, None), CellVerdict.INCONCLUSIVE),
        ((12, 20), (3, None), CellVerdict.INCONCLUSIVE),
        ((None, 20), (60, None), CellVerdict.VOID),
        ((None, 5), (60, None), CellVerdict.VOID),  # of a void attack nothing is concluded
        ((None, 20), (39, None), CellVerdict.INCONCLUSIVE),
    ],
)
def test_verdicts(
    record: Record, drop: Any, control: tuple[float | None, float | None], verdict: CellVerdict
) -> None:
    assert judged(record, limits(drop=drop, control=control)).verdict is verdict


def test_without_a_limit_of_its_own_a_cell_stays_open(record: Record) -> None:
    assert judged(record, limits()).verdict is CellVerdict.NO_LIMIT
    assert judged(record, limits(control=(3, None))).verdict is CellVerdict.NO_LIMIT
    assert judged(record, limits(control=(60, None))).verdict is CellVerdict.VOID


def test_a_clean_cell_is_judged_by_its_accuracy_alone(record: Record) -> None:
    cell = Cell("clean", CLEAN, 3)
    found = results(record, {CLEAN: USUAL[CLEAN]})
    outcome = judge_cell(cell, SEEDS, found, limits(clean=(80, 99), drop=(None, 0)))
    assert [g.threshold.metric for g in outcome.gates] == ["clean"]
    assert outcome.verdict is CellVerdict.PASS
    assert (outcome.poisoned, outcome.drop, outcome.asr) == ((), (), ())
    assert outcome.retention is None
    too_good = judge_cell(cell, SEEDS, found, limits(clean=(50, 80)))
    assert too_good.verdict is CellVerdict.FAIL


def constant(found: dict[Run, Any], scenario: Scenario) -> dict[Run, Any]:
    """``found``, where ``scenario`` names one class for every image: 73 % of them, say."""
    row = (1.0, *[0.0] * 9)
    return {
        key: dataclasses.replace(r, recall=(row,)) if key.scenario == scenario else r
        for key, r in found.items()
    }


def test_a_clean_arm_that_names_one_class_fails_whatever_its_accuracy(record: Record) -> None:
    cell = Cell("clean", CLEAN, 3)
    found = results(record, {CLEAN: (0.73, 0.73, 0.73)}, recall=((1.0, *[0.6] * 9),))
    both = limits(clean=(30, 99), skill=(5, None))
    assert judge_cell(cell, SEEDS, found, both).verdict is CellVerdict.PASS
    assert judge_cell(cell, SEEDS, constant(found, CLEAN), both).verdict is CellVerdict.FAIL


def test_what_an_arm_without_skill_loses_proves_nothing(record: Record) -> None:
    bounds = limits(drop=(None, 20), control=(3, None), twin_skill=(5, None))
    found = results(record, USUAL, recall=((1.0, *[0.6] * 9),))
    outcome = judge_cell(CELL, SEEDS, found, bounds)
    assert outcome.verdict is CellVerdict.PASS
    by_metric = {g.threshold.metric: g.estimate.mean for g in outcome.gates}
    assert by_metric["twin_skill"] == pytest.approx(100 * (0.64 - 0.1) / 0.9)
    assert judge_cell(CELL, SEEDS, constant(found, CLEAN), bounds).verdict is CellVerdict.VOID
    # the control's twin is another arm, and a poisoned model may well know nothing
    assert judge_cell(CELL, SEEDS, constant(found, ATTACKED), bounds).verdict is CellVerdict.PASS


def test_attack_success_is_measured_where_it_is_defined(record: Record) -> None:
    cell = Cell("targeted", TARGETED, 2)
    accuracies = {CLEAN: (0.9, 0.9), TARGETED: (0.8, 0.8)}
    found = results(record, accuracies, asr=(0.25,))
    outcome = judge_cell(cell, (0, 1), found, limits(asr=(None, 50), drop=(None, 30)))
    assert outcome.asr == pytest.approx((25, 25))
    assert {g.threshold.metric: g.estimate.mean for g in outcome.gates}["asr"] == 25


def test_zero_accuracy_has_no_retention(record: Record) -> None:
    accuracies = dict.fromkeys(USUAL, (0.0, 0.0, 0.0))
    assert judged(record, limits(), accuracies).retention is None


def test_any_failed_run_is_an_error_and_nothing_is_judged(record: Record) -> None:
    thresholds = limits(drop=(None, 20), control=(3, None))
    for scenario in USUAL:
        found = results(record, USUAL)
        found[Run(scenario, 1)] = Failure("DataError: no such file", expected=True)
        outcome = judge_cell(CELL, SEEDS, found, thresholds)
        assert outcome.verdict is CellVerdict.ERROR
        assert outcome.errors == (f"{scenario.id} seed 1: DataError: no such file",)
        assert outcome.gates == ()


def test_diverged_runs_are_named_and_stay_in_the_mean(record: Record) -> None:
    found = results(record, USUAL)
    found[Run(ATTACKED, 2)] = dataclasses.replace(
        found[Run(ATTACKED, 2)], accuracy=(0.1,), diverged=1
    )
    outcome = judge_cell(CELL, SEEDS, found, limits(drop=(None, 20)))
    assert outcome.diverged == (f"{ATTACKED.id} seed 2 in round 1",)
    assert outcome.poisoned == pytest.approx((80, 81, 10))


@pytest.mark.parametrize(
    ("part", "changes", "what"),
    [
        ("audit", {"samples": (1, 2, 3, 4)}, "samples per client"),
        ("audit", {"epochs": (1, 1, 1, 9)}, "local epochs"),
        ("audit", {"cohorts": ((3, 2),)}, "cohorts"),
        ("provenance", {"data": "other"}, "data"),
        ("provenance", {"code": "other"}, "code"),
        ("provenance", {"torch": "0"}, "machine"),
        ("provenance", {"machine": "other"}, "machine"),
        ("provenance", {"device": "other"}, "machine"),
        ("provenance", {"kernels": "other"}, "kernels"),
        ("provenance", {"weights": "other"}, "weights"),
        ("provenance", {"versions": (("numpy", "1"),)}, "version of numpy"),
    ],
)
def test_a_pair_that_does_not_share_its_randomness_is_an_error(
    record: Record, part: str, changes: dict[str, Any], what: str
) -> None:
    found = results(record, USUAL)
    odd = found[Run(ATTACKED, 1)]
    odd = dataclasses.replace(odd, **{part: dataclasses.replace(getattr(odd, part), **changes)})
    assert unpaired(found[Run(CLEAN, 1)], found[Run(ATTACKED, 1)]) == []
    (message,) = unpaired(found[Run(CLEAN, 1)], odd)
    assert message.endswith(f"differ in {what}")
    assert f"{ATTACKED.id} seed 1" in message
    found[Run(ATTACKED, 1)] = odd
    outcome = judge_cell(CELL, SEEDS, found, limits(drop=(None, 20)))
    assert outcome.verdict is CellVerdict.ERROR
    assert outcome.errors == (message,)


def test_what_only_the_attack_brings_is_no_difference(record: Record) -> None:
    clean, poisoned = dict(results(record, USUAL)), results(record, USUAL)

    def of(run: Run, **parts: Any) -> Record:
        made = dataclasses.replace(clean[run].provenance, **parts)
        return dataclasses.replace(clean[run], provenance=made)

    calm, struck = Run(CLEAN, 1), Run(ATTACKED, 1)
    versions = (*poisoned[struck].provenance.versions, ("zlib", "1"))
    strategy, attack = ("strategy", "5"), ("attack", "a")
    alone = of(struck, versions=versions, foreign=(attack, strategy))
    assert unpaired(of(calm, foreign=(strategy,)), alone) == []
    (message,) = unpaired(of(calm, foreign=(("strategy", "6"),)), alone)
    assert message.endswith("differ in code of strategy")
    # two strategies, each with code of its own, are compared in a claim
    other = dataclasses.replace(alone, scenario=ATTACKED.but(strategy="fedavg"))
    assert unpaired(of(calm, foreign=(("strategy", "6"),)), other) == []


def test_the_pairs_of_the_control_are_checked_too(record: Record) -> None:
    found = results(record, USUAL)
    odd = found[Run(CONTROL, 2)]
    found[Run(CONTROL, 2)] = dataclasses.replace(
        odd, audit=dataclasses.replace(odd.audit, cohorts=((3, 2),))
    )
    outcome = judge_cell(CELL, SEEDS, found, limits(drop=(None, 20)))
    assert outcome.verdict is CellVerdict.ERROR
    assert f"{CONTROL.id} seed 2" in outcome.errors[0]


def test_a_real_pair_is_a_pair() -> None:
    seeds = (0, 1)
    found = {r: run(r.scenario, r.seed, device="cpu") for r in CELL.runs(seeds)}
    outcome = judge_cell(CELL, seeds, found, limits(clean=(1, None)))
    assert outcome.errors == ()
