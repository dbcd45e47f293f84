from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from fedcore import Scenario, run
from fedcore.harness.claims.claims import Claim, ClaimError, ClaimVerdict
from fedcore.harness.claims.contrasts import BOTH, Role, costs, costs_more
from fedcore.harness.claims.judging import judge_claim
from fedcore.harness.runs.job import Failure
from fedcore.harness.suite.comparability import ConfoundError
from fedcore.records.record import Record
from fedcore.records.store import Run

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, rounds=10, optimizer="sgd", lr=0.1
)
MILD = CLEAN.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=0.5)
HARSH = MILD.but(poison_ratio=1.0)
MORE = costs_more("harsh - mild", HARSH, MILD, {"poison_ratio"})
CLAIM = Claim("harsher-costs-more", "a statement", (MORE,), 10)
D, G, R = Role.DECIDES, Role.GUARDS, Role.REPORTED


def claim(roles: tuple[Role, ...], margin: float = 1.0, below: bool = False) -> Claim:
    parts = (dataclasses.replace(MORE, name=str(i), role=role) for i, role in enumerate(roles))
    return Claim("made-up", "a statement", tuple(parts), 10, margin, below)


def test_a_claim_is_checked_when_it_is_made() -> None:
    with pytest.raises(ClaimError, match="at least one contrast must decide"):
        claim((G, R))
    with pytest.raises(ClaimError, match="names must differ"):
        Claim("twice", "", (MORE, MORE), 10)
    confounded = costs_more("x", HARSH.but(lr=0.2), MILD, {"poison_ratio"})
    with pytest.raises(ConfoundError, match=r"lr: 0.2 vs 0.1"):
        Claim("confounded", "", (confounded,), 10)
    assert Claim("as-published", "", (confounded,), 10, as_published=True).contrasts == (
        confounded,
    )


def test_runs_are_distinct_and_the_definition_follows_what_is_measured() -> None:
    both = Claim("both", "", (costs("a", MILD), costs("b", HARSH), MORE), 10)
    assert both.runs([0, 1]) == [Run(s, i) for i in (0, 1) for s in (CLEAN, MILD, HARSH)]
    same = dataclasses.replace(CLAIM, name="other", statement="other", seeds=20)
    assert same.definition == CLAIM.definition
    faster = [HARSH.but(lr=0.2), MILD.but(lr=0.2)]
    changed = [
        dataclasses.replace(CLAIM, margin=2.0),
        dataclasses.replace(CLAIM, horizons=(5, 10)),
        dataclasses.replace(CLAIM, below=True),
        claim((D,)),
        dataclasses.replace(CLAIM, contrasts=(dataclasses.replace(MORE, effect=2 * MORE.effect),)),
        Claim("x", "", (costs_more(MORE.name, faster[0], faster[1], MORE.factor),), 1),
    ]
    definitions = {c.definition for c in (CLAIM, *changed)}
    assert len(definitions) == 1 + len(changed)


@pytest.fixture(scope="module")
def made() -> dict[Scenario, Record]:
    """Records of real runs, of which the clean one is made out to have learned something."""
    found = {s: run(s, seed=0, device="cpu") for s in (CLEAN, MILD, HARSH)}
    return {**found, CLEAN: dataclasses.replace(found[CLEAN], recall=((0.9,) * 10,) * 10)}


def results(made: dict[Scenario, Record], effect: float, n: int = 10, sd: float = 1.0) -> Any:
    """Flat curves whose drops differ by ``effect`` points, with noise of ``sd`` on each run."""
    generator = np.random.default_rng(5)
    means = {CLEAN: 90.0, MILD: 85.0, HARSH: 85.0 - effect}
    # evidence of training would show that all of these are one run
    audits = {s: dataclasses.replace(r.audit, training=None) for s, r in made.items()}
    return {
        Run(s, seed): dataclasses.replace(
            made[s],
            seed=seed,
            audit=audits[s],
            engine="flower-made-up",  # which may lack evidence
            accuracy=((m + sd * generator.standard_normal()) / 100,) * 10,
        )
        for seed, (s, m) in itertools.product(range(n), means.items())
    }


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [(4.0, ClaimVerdict.SUPPORTED), (-4.0, ClaimVerdict.REFUTED), (0.0, ClaimVerdict.UNDECIDED)],
)
def test_planted_effects_are_found_and_nothing_else(
    made: dict[Scenario, Record], effect: float, verdict: ClaimVerdict
) -> None:
    outcome = judge_claim(CLAIM, range(10), results(made, effect))
    assert outcome.verdict is verdict
    assert outcome.look == 10
    ((row,),) = (finding.rows for finding in outcome.findings)
    assert (row.estimand, len(row.values)) == (BOTH, 10)
    assert row.mean == pytest.approx(np.mean(row.values))
    assert row.mean == pytest.approx(effect, abs=1.5)


def test_no_difference_of_little_noise_is_equivalent(made: dict[Scenario, Record]) -> None:
    outcome = judge_claim(CLAIM, range(10), results(made, 0.0, sd=0.2))
    assert (outcome.verdict, outcome.look) == (ClaimVerdict.EQUIVALENT, 5)
    outcome = judge_claim(CLAIM, range(10), results(made, 2.0, sd=0.2))  # beyond the margin
    assert outcome.verdict is ClaimVerdict.SUPPORTED


def test_the_first_look_that_decides_gives_the_verdict(made: dict[Scenario, Record]) -> None:
    """The figures are those of the last look; later seeds take nothing back."""
    found = results(made, 6.0, sd=0.2)
    for seed in range(5, 10):  # as if all were over: the mean of ten lies on the margin
        run = Run(HARSH, seed)
        found[run] = dataclasses.replace(found[run], accuracy=((85 + 4) / 100,) * 10)
    outcome = judge_claim(CLAIM, range(10), found)
    assert (outcome.verdict, outcome.look) == (ClaimVerdict.SUPPORTED, 5)
    assert len(outcome.findings[0].rows[0].values) == 10
    assert outcome.findings[0].verdict is ClaimVerdict.UNDECIDED
    assert judge_claim(CLAIM, range(9), found).look == 5
    before = judge_claim(CLAIM, range(4), found)
    assert (before.verdict, before.look) == (ClaimVerdict.UNDECIDED, 0)
    assert before.reason == "no look yet: 4 seeds, the first is at 5"


def test_an_arm_that_still_rises_decides_no_claim(made: dict[Scenario, Record]) -> None:
    found = results(made, 4.0, sd=0.2)
    assert judge_claim(CLAIM, range(10), found).verdict is ClaimVerdict.SUPPORTED
    for seed in range(10):
        run = Run(HARSH, seed)
        level = found[run].accuracy[0]
        curve = tuple(level + 0.02 * (number - 9) for number in range(1, 11))
        found[run] = dataclasses.replace(found[run], accuracy=curve)
    outcome = judge_claim(CLAIM, range(10), found)
    assert outcome.verdict is ClaimVerdict.UNDECIDED
    text = f"open: still rising at 10 rounds: {HARSH.id} rises by +20.0 [+20.0, +20.0] points in"
    assert outcome.reason.startswith(text)


def test_poisoned_accuracy_counts_beside_the_drop(made: dict[Scenario, Record]) -> None:
    """An arm that starts lower drops less, and ends lower all the same."""
    clean, struck = CLEAN.but(lr=0.05), HARSH.but(lr=0.05)
    slow = costs_more("mild - harsh of less rate", MILD, struck, {"lr", "poison_ratio"})
    claim = Claim("slow", "what learns slowly loses less", (slow,), 10)
    found = results(made, 0.0, sd=0.2)
    for seed in range(10):
        for arm, model, level in ((clean, CLEAN, 70.0), (struck, HARSH, 68.0)):
            record = found[Run(model, seed)]
            found[Run(arm, seed)] = dataclasses.replace(
                record, scenario=arm, accuracy=(level / 100,) * 10
            )
    outcome = judge_claim(claim, range(10), found)
    drop, accuracy = outcome.findings[0].rows
    assert (drop.estimand, accuracy.estimand) == ("drop", "accuracy")
    assert drop.mean == pytest.approx(3.0, abs=0.3)  # 5 lost of 90, 2 lost of 70
    assert accuracy.mean == pytest.approx(-17.0, abs=0.3)
    assert outcome.verdict is ClaimVerdict.UNDECIDED
    assert outcome.reason.startswith("drop and poisoned accuracy contradict each other")


def test_a_claim_is_judged_at_its_horizons(made: dict[Scenario, Record]) -> None:
    """Supported after 10 rounds, equivalent after 20: with the two together undecided."""
    long = {arm: arm.but(rounds=20) for arm in (CLEAN, MILD, HARSH)}
    claim = Claim("long", "a statement", (MORE,), 10, horizons=(10, 20))
    assert set(claim.scenarios) == {long[MILD], long[HARSH]}  # the clean arm cancels out
    early, late = results(made, 4.0, sd=0.1), results(made, 0.0, sd=0.1)
    found = {
        Run(long[run.scenario], run.seed): dataclasses.replace(
            record,
            scenario=long[run.scenario],
            rounds=tuple(range(1, 21)),
            accuracy=record.accuracy + late[run].accuracy,
        )
        for run, record in early.items()
    }
    outcome = judge_claim(claim, range(5), found)
    assert [finding.verdict.value for finding in outcome.findings] == ["supported", "equivalent"]
    assert outcome.reason == "equivalent at 20 rounds, supported at 10"
    assert {len(curve.accuracy) for curve in outcome.curves} == {20}
    alone = dataclasses.replace(claim, horizons=(20,))
    assert judge_claim(alone, range(5), found).verdict is ClaimVerdict.EQUIVALENT


def test_arms_that_learn_nothing_decide_no_claim(made: dict[Scenario, Record]) -> None:
    """A constant answer has an accuracy, and poison moves it; that says nothing about poison."""
    guessing = dataclasses.replace(made[CLEAN], recall=((1.0, *[0.0] * 9),) * 10)
    outcome = judge_claim(CLAIM, range(10), results({**made, CLEAN: guessing}, 4.0))
    assert outcome.verdict is ClaimVerdict.SUPPORTED  # the clean arm of both sides cancels out
    absolute = Claim("costs", "a statement", (costs("harsh", HARSH),), 10)
    assert judge_claim(absolute, range(10), results(made, 4.0)).verdict is ClaimVerdict.SUPPORTED
    outcome = judge_claim(absolute, range(10), results({**made, CLEAN: guessing}, 4.0))
    assert outcome.verdict is ClaimVerdict.UNDECIDED
    (told,) = outcome.unskilled
    assert told.startswith(f"{CLEAN.id}: balanced accuracy 0.0 % of the way from guessing")
    reported = dataclasses.replace(costs("harsh", HARSH), role=Role.REPORTED)
    beside = Claim("beside", "a statement", (MORE, reported), 10)
    outcome = judge_claim(beside, range(10), results({**made, CLEAN: guessing}, 4.0))
    assert (outcome.verdict, outcome.unskilled) == (ClaimVerdict.SUPPORTED, ())


def test_the_pairing_counts(made: dict[Scenario, Record]) -> None:
    shaken = results(made, 2.0, sd=0.2)
    for (scenario, seed), record in [((r.scenario, r.seed), v) for r, v in shaken.items()]:
        moved = record.accuracy[0] - 0.03 * seed  # a good or bad seed, for all arms alike
        shaken[Run(scenario, seed)] = dataclasses.replace(record, accuracy=(moved,) * 10)
    assert judge_claim(CLAIM, range(10), shaken).verdict is ClaimVerdict.SUPPORTED


def test_failures_and_broken_pairs_are_errors(made: dict[Scenario, Record]) -> None:
    found = results(made, 4.0)
    found[Run(MILD, 3)] = Failure("no memory", expected=False)
    outcome = judge_claim(CLAIM, range(10), found)
    assert outcome.verdict is ClaimVerdict.ERROR
    assert outcome.findings == ()
    assert len(outcome.errors) == 1
    assert "seed 3: no memory" in outcome.errors[0]
    both = Claim("both", "", (costs("a", MILD), MORE), 10)
    for what, value, message in (
        ("samples", (1, 2, 3, 4), "no pair: they differ in samples per client"),
        ("cohorts", ((0, 1),), "different cohorts"),
        ("malicious", (0, 1, 2), "different malicious clients"),
    ):
        found = results(made, 4.0)
        record = found[Run(MILD, 0)]
        if what == "malicious":
            value = tuple(c for c in range(4) if c not in record.audit.malicious)
        audit = dataclasses.replace(record.audit, **{what: value})
        found[Run(MILD, 0)] = dataclasses.replace(record, audit=audit)
        outcome = judge_claim(both, range(10), found)
        assert outcome.verdict is ClaimVerdict.ERROR
        assert any(message in error for error in outcome.errors), outcome.errors


def test_diverged_runs_are_named_and_kept(made: dict[Scenario, Record]) -> None:
    found = results(made, 4.0)
    found[Run(HARSH, 2)] = dataclasses.replace(found[Run(HARSH, 2)], diverged=1)
    outcome = judge_claim(CLAIM, range(10), found)
    assert len(outcome.findings[0].rows[0].values) == 10
    assert len(outcome.diverged) == 1
    assert outcome.diverged[0].endswith("seed 2 in round 1")


def test_what_runs_trained_on_decides_whether_a_claim_is_judged(
    made: dict[Scenario, Record],
) -> None:
    """One run handed out as ten: the seeds of its evidence are not those asked for."""
    found = {
        Run(s, seed): dataclasses.replace(record, seed=seed)
        for seed in range(2)
        for s, record in made.items()
    }
    outcome = judge_claim(CLAIM, range(2), found)
    assert outcome.verdict is ClaimVerdict.ERROR
    assert len(outcome.errors) == 6
    assert all(
        "seed 1 has other cohorts than its seed draws" in text for text in outcome.errors[1:2]
    )


def test_runs_without_evidence_are_named(made: dict[Scenario, Record]) -> None:
    outcome = judge_claim(CLAIM, range(10), results(made, 4.0))
    assert len(outcome.unproven) == 20  # two arms of ten seeds
    assert "what it trained on is not proven" in outcome.unproven[0]
