"""A metric that was not measured is void, with its reason; a limit that cannot fail is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fedcore import Scenario, run
from fedcore.attacks.attack import DataAttack, Draw, Samples
from fedcore.federation.threat import ClientPoison
from fedcore.harness.statistics.estimates import CellVerdict, Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.outcome import Outcome, judge_cell
from fedcore.harness.suite.thresholds import Threshold, Thresholds
from fedcore.records.record import Record
from fedcore.records.store import Run

CLEAN = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
FLIP = CLEAN.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
TARGETED = FLIP.but(attack="targetedflip", source_class=1, target_class=7)
SEEDS = (0, 1, 2)
LIMITS = {
    "drop": (5, 40),
    "asr": (10, 90),
    "control": (2, None),
    "control_asr": (10, None),
    "clean": (50, 99),
    "skill": (5, None),
}
Change = Callable[[Record], Record]


@pytest.fixture(scope="module")
def record() -> Record:
    return run(CLEAN, seed=0, device="cpu")


def judged(
    record: Record,
    scenario: Scenario = TARGETED,
    changes: Mapping[tuple[Scenario, int], Change] | None = None,
    *,
    limits: Mapping[str, tuple[float | None, float | None]] = LIMITS,
    control: Scenario | None = TARGETED,
    noise: Noise = Noise(2.0, 4),  # noqa: B008
    seeds: tuple[int, ...] = SEEDS,
    changed: tuple[str, ...] = (),
    where: Mapping[str, Mapping[str, Any]] = {},
) -> Outcome:
    """Of a cell that passes but for ``changes``: 90 % clean, 70 % poisoned, ASR 50 %."""
    control = control if scenario.attack else None
    cell = Cell("cell", scenario, len(seeds), control, changed=changed)
    results = {key: usual(record, key.scenario, key.seed) for key in cell.runs(seeds)}
    for (arm, seed), change in (changes or {}).items():
        results[Run(arm, seed)] = change(results[Run(arm, seed)])
    entries = [
        Threshold(f"{m}.x", m, low, high, "r", where.get(m, {}))
        for m, (low, high) in limits.items()
    ]
    return judge_cell(cell, seeds, results, Thresholds(tuple(entries), noise))


def usual(record: Record, scenario: Scenario, seed: int) -> Record:
    attacked = scenario.attack is not None
    poison = tuple(ClientPoison(c, 50, 50, 50, 50, draws=1) for c in (0, 2)) if attacked else ()
    audit = dataclasses.replace(
        record.audit,
        malicious=(0, 2) if attacked else (),
        poison=poison,
        training=None,  # numbers that nobody trained for: as of clients over a network
        unseen="made up",
    )
    return dataclasses.replace(
        record,
        engine="flower-grid",
        scenario=scenario,
        seed=seed,
        accuracy=(0.7 if attacked else 0.9,),
        recall=((0.9,) * 10,),
        asr=(0.5,) if scenario.source_class is not None else None,
        audit=audit,
        model_digest=scenario.hash,
    )


def on(arm: Scenario, change: Change, seeds: tuple[int, ...] = SEEDS) -> dict[Any, Change]:
    return {(arm, seed): change for seed in seeds}


def without_source(record: Record) -> Record:
    recall = tuple(None if c == 1 else 0.9 for c in range(10))
    return dataclasses.replace(record, asr=None, recall=(recall,))


def test_the_cell_that_the_others_start_from_passes(record: Record) -> None:
    for scenario in (TARGETED, FLIP, CLEAN):
        limits = {k: v for k, v in LIMITS.items() if "asr" not in k or scenario is TARGETED}
        outcome = judged(record, scenario, limits=limits, control=scenario)
        assert (outcome.verdict, outcome.voids, outcome.unlimited) == (CellVerdict.PASS, (), ())


@pytest.mark.parametrize("limited", [("asr",), ("drop",), ("drop", "control"), tuple(LIMITS)])
def test_no_test_image_of_the_source_class(record: Record, limited: tuple[str, ...]) -> None:
    """Whatever the file limits: what a targeted flip is for was not measured."""
    limits = {name: LIMITS[name] for name in limited}
    outcome = judged(record, changes=on(TARGETED, without_source), limits=limits)
    assert outcome.verdict is CellVerdict.VOID
    expected = "the test set holds no image of the source class 1 (seeds 0, 1, 2)"
    assert any(reason.endswith(expected) for reason in outcome.voids)


def test_a_value_that_is_missing_on_one_seed_alone(record: Record) -> None:
    """The other two seeds would pass."""
    outcome = judged(record, changes=on(TARGETED, without_source, (1,)))
    assert outcome.verdict is CellVerdict.VOID
    assert "(seed 1)" in outcome.voids[0]


def test_a_limit_on_a_success_rate_that_the_attack_does_not_have(record: Record) -> None:
    limits = {"drop": (5, 40), "control": (2, None), "asr": (10, 90)}
    outcome = judged(record, FLIP, control=FLIP, limits=limits)
    assert outcome.verdict is CellVerdict.VOID
    assert "attack 'labelflip' has no success rate" in outcome.voids[0]


def test_the_success_rate_of_the_control_is_missing(record: Record) -> None:
    other = TARGETED.but(strategy="fedavgm")
    outcome = judged(record, other, on(TARGETED, without_source))
    assert outcome.verdict is CellVerdict.VOID
    assert "control_asr could not be measured" in outcome.voids[0]


def test_no_control(record: Record) -> None:
    outcome = judged(record, control=None)
    assert outcome.verdict is CellVerdict.VOID
    assert "no undefended control is given" in outcome.voids[0]


def test_a_control_that_no_limit_holds(record: Record) -> None:
    outcome = judged(record, limits={"drop": (5, 40)})
    assert outcome.verdict is CellVerdict.VOID
    assert "no limit holds the undefended control" in outcome.voids[0]


def test_nothing_to_lose_is_void_whether_or_not_the_file_says_so(record: Record) -> None:
    """One class named for each image: 90 % of them, say."""
    row = (1.0, *[0.0] * 9)
    outcome = judged(record, changes=on(CLEAN, lambda r: dataclasses.replace(r, recall=(row,))))
    assert outcome.verdict is CellVerdict.VOID


def test_a_test_set_of_one_class(record: Record) -> None:
    row = (0.9, *[None] * 9)
    change = on(CLEAN, lambda r: dataclasses.replace(r, recall=(row,)))
    for scenario in (CLEAN, FLIP):
        limits = {k: v for k, v in LIMITS.items() if "asr" not in k}
        outcome = judged(record, scenario, change, limits=limits, control=scenario)
        assert outcome.verdict is CellVerdict.VOID
        assert "the test set holds a single class" in outcome.voids[0]


def test_all_runs_of_a_targeted_arm_diverged(record: Record) -> None:
    """They count at chance, 10 %, as if one in ten had been taken for the target."""
    outcome = judged(
        record, changes=on(TARGETED, lambda r: dataclasses.replace(r, diverged=1, asr=(0.1,)))
    )
    assert outcome.verdict is CellVerdict.VOID
    assert "every run diverged" in outcome.voids[0]


def test_a_value_that_is_no_number(record: Record) -> None:
    nan = on(CLEAN, lambda r: dataclasses.replace(r, accuracy=(float("nan"),)), (2,))
    outcome = judged(record, changes=nan)
    assert outcome.verdict is CellVerdict.VOID
    assert "drop could not be measured" in outcome.voids[0]


def test_an_attack_without_a_sample_to_poison(record: Record) -> None:
    idle = tuple(ClientPoison(c, 0, 0, 0, 0, draws=1) for c in (0, 2))
    change = on(
        TARGETED,
        lambda r: dataclasses.replace(r, audit=dataclasses.replace(r.audit, poison=idle)),
        (0, 2),
    )
    outcome = judged(record, changes=change)
    assert outcome.verdict is CellVerdict.VOID
    assert "changed no label on seeds 0, 2" in outcome.voids[0]
    assert "no training sample of class 1" in outcome.voids[0]


def test_one_seed_and_no_prior_knowledge_of_noise(record: Record) -> None:
    outcome = judged(record, noise=Noise(2.0, 0), seeds=(0,))
    assert outcome.verdict is CellVerdict.VOID
    assert "1 values with 0 prior degrees of freedom give no interval" in outcome.voids[0]


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [
        ((-6, 60), CellVerdict.PASS),  # of the 80 that there are to lose
        ((-6, 79), CellVerdict.PASS),
        ((-6, 80), CellVerdict.NO_LIMIT),
        ((None, 85), CellVerdict.NO_LIMIT),
        ((None, None), CellVerdict.NO_LIMIT),  # none = true
        ((1, 85), CellVerdict.PASS),  # no effect would fail
    ],
)
def test_a_window_from_no_effect_to_chance_is_no_limit(
    record: Record, drop: Any, verdict: CellVerdict
) -> None:
    limits = {"drop": drop, "control": (2, None)}
    outcome = judged(record, FLIP, limits=limits, control=FLIP)
    assert outcome.verdict is verdict
    assert bool(outcome.unlimited) is (verdict is CellVerdict.NO_LIMIT)


def test_a_clean_window_from_guessing_to_no_error_is_no_limit(record: Record) -> None:
    """Of 10 classes 10 % are guessed."""
    for low, verdict in ((10, CellVerdict.NO_LIMIT), (11, CellVerdict.PASS)):
        outcome = judged(record, CLEAN, limits={"clean": (low, 99.9)})
        assert outcome.verdict is verdict


def test_limits_that_were_recorded_for_other_settings_do_not_hold(record: Record) -> None:
    limits = {"drop": (5, 40), "control": (2, None)}
    outcome = judged(record, FLIP, control=FLIP, limits=limits, changed=("rounds",))
    assert outcome.verdict is CellVerdict.NO_LIMIT
    assert {g.threshold.metric for g in outcome.gates} <= {"control", "twin_skill"}
    named = Threshold("drop.own", "drop", 5, 40, "r", {"rounds": (1,)})
    assert named.fits(FLIP, ("rounds",))
    assert not named.fits(FLIP, ("rounds", "lr"))


class Darkened(DataAttack):
    """Poisons images and keeps their labels (a clean-label attack)."""

    changes_images = True
    may_keep_labels = True

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        assert samples.images is not None
        return Samples(samples.labels, samples.images // 2)


def test_an_attack_on_images_alone_has_poisoned() -> None:
    arm = CLEAN.but(attack=Darkened(poison_ratio=1.0), malicious_fraction=0.5)
    cell = Cell("cell", arm, 1, arm)
    results = {key: run(key.scenario, key.seed, device="cpu") for key in cell.runs((0,))}
    outcome = judge_cell(cell, (0,), results, Thresholds((), Noise(2.0, 4)))
    assert outcome.errors == ()
    assert outcome.voids == ()


def test_a_cell_at_another_horizon_than_its_limit_says_so(record: Record) -> None:
    limits = {"drop": (5, 40), "control": (2, None)}
    for rounds, verdict in ((1, CellVerdict.PASS), (31, CellVerdict.NO_LIMIT)):
        where = {"drop": {"rounds": (rounds,)}}
        outcome = judged(record, FLIP, control=FLIP, limits=limits, where=where)
        assert outcome.verdict is verdict
    assert outcome.unlimited == ("drop.x (5..40) was recorded at 31 rounds, and is no limit at 1",)
