"""The shipped limits on the recorded values: they hold, and a model that guesses breaks them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.limits import CHANCE, DATASETS, FOLDER, GUESSING, Recorded, recorded, renewed
from benchmark.suite import cells
from fedcore.data.loading import load
from fedcore.harness.statistics.estimates import CellVerdict, judge
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Threshold, Thresholds, cannot_fail

THRESHOLDS = Thresholds.read(FOLDER / "thresholds.toml")
FOUND = [one for dataset in DATASETS for one in recorded(dataset)]
ATTACKED = [one for one in FOUND if one.metric == "drop"]
#: Cells with no limit on their drop: what is lost is all there was, within noise.
WITHOUT = {
    "mnist5k krum-iid-labelflip-mal30pct-poison100pct",
    "bloodmnist krum-iid-labelflip-mal30pct-poison100pct",
    "bloodmnist multikrum-dirichlet0.1-labelflip-mal30pct-poison100pct",
    "bloodmnist fednova-dirichlet0.1-labelflip-mal50pct-poison100pct",
    "mnist5k fedavg-iid-labelflip-mal50pct-poison100pct-lr1-clients100-localdp-epsilon1-head",
    "bloodmnist median-dirichlet0.1-labelflip-mal30pct-poison100pct",
}
#: Cells that an attack without any effect passes: what was recorded is within noise of none.
NO_EFFECT_PASSES = {
    "mnist5k fedavg-dirichlet0.1-labelflip-mal50pct-poison50pct",
    "mnist5k fedavg-iid-labelflip-mal30pct-poison100pct-lr1-clients100-localdp-epsilon1-head",
    "mnist5k median-iid-labelflip-mal30pct-poison100pct",
    "bloodmnist fednova-dirichlet0.1-labelflip-mal30pct-poison100pct",
    "mnist5k fedavg-iid-labelflip-mal30pct-poison50pct",
    "mnist5k fedavg-dirichlet0.1-labelflip-mal30pct-poison50pct",
    "mnist5k fednova-dirichlet0.1-labelflip-mal30pct-poison50pct",
    "mnist5k fednova-dirichlet0.1-labelflip-mal30pct-poison100pct",
    "mnist5k fednova-dirichlet0.1-labelflip-mal50pct-poison50pct",
    "bloodmnist fedavg-dirichlet0.1-labelflip-mal30pct-poison50pct",
    "bloodmnist fednova-iid-labelflip-mal30pct-poison50pct",
    "bloodmnist fednova-dirichlet0.1-labelflip-mal30pct-poison50pct",
    "bloodmnist fednova-dirichlet0.1-labelflip-mal50pct-poison50pct",
    "bloodmnist fedprox-dirichlet0.1-labelflip-mal30pct-poison100pct",
}


def name(one: Recorded) -> str:
    return f"{one.cell.scenario.dataset} {one.cell.id}"


def limit(one: Recorded) -> Threshold:
    threshold = THRESHOLDS.of(one.metric, one.cell.scenario)
    assert threshold is not None, f"{one.metric} of {name(one)} has neither a limit nor a reason"
    return threshold


def verdicts(values: Callable[[Recorded], list[float]]) -> dict[str, CellVerdict]:
    """The drop's verdict by cell, had each the drops ``values``; cells without a limit left out."""
    limited = [one for one in ATTACKED if limit(one).exists]
    return {
        name(one): judge(
            one.interval(values(one), THRESHOLDS.priors), limit(one).min, limit(one).max
        )
        for one in limited
    }


def test_every_recorded_value_has_a_limit_and_holds_it() -> None:
    assert len(FOUND) == 128
    assert {name(one) for one in FOUND if not limit(one).exists} == WITHOUT
    for one in FOUND:
        threshold = limit(one)
        if threshold.exists:
            interval = one.interval(one.values, THRESHOLDS.priors)
            verdict = judge(interval, threshold.min, threshold.max)
            assert verdict is CellVerdict.PASS, f"{one.metric} of {name(one)}: {interval}"
            clean = math.fsum(one.clean) / len(one.clean)
            assert cannot_fail(threshold, CHANCE[one.cell.scenario.dataset], clean) is None


def test_the_file_holds_what_the_rule_makes_of_the_baselines() -> None:
    text = (FOLDER / "thresholds.toml").read_text(encoding="utf-8")
    assert renewed(text) == text


def test_every_limit_is_that_of_one_recorded_cell() -> None:
    """A limit that a neighbour shares would hold where nothing was measured."""
    used = [limit(one).name for one in FOUND]
    assert len(set(used)) == len(used)
    recorded_names = {t.name for t in THRESHOLDS.entries if "num_clients" in t.where}
    assert set(used) == recorded_names


@pytest.mark.parametrize(
    "options",
    [
        Options(strategies=("krum",), preaggregation="bucketing"),
        Options(strategies=("trimmedmean(trim_fraction=0.3)",)),
        Options(strategies=("krum(num_byzantine=2)",)),
    ],
    ids=["preaggregation", "number", "unset"],
)
def test_arms_that_were_not_recorded_have_no_recorded_limit(options: Options) -> None:
    for cell in cells(options):
        for metric in ("clean", "drop"):
            threshold = THRESHOLDS.of(metric, cell.scenario, cell.changed)
            assert threshold is None or "num_clients" not in threshold.where, cell.id


def test_no_recorded_limit_is_applied_at_another_horizon() -> None:
    """Profile full trains for longer than what was recorded: rules for any settings remain."""
    long = list(itertools.islice(cells(Options(profile="full")), 60))
    assert {cell.scenario.rounds for cell in long} == {80}
    for cell in long:
        for metric in ("clean", "drop", "asr"):
            threshold = THRESHOLDS.of(metric, cell.scenario, cell.changed)
            assert threshold is None or "num_clients" not in threshold.where, cell.id
    (missed,) = THRESHOLDS.at_other_rounds("clean", long[0].scenario)
    assert (missed.name, missed.horizon) == ("clean.mnist5k-fedavg-iid-clean", "10")


def test_redrawn_flips_have_no_recorded_limit() -> None:
    for cell in cells(Options(attacks=("labelflip(redraw=True)",))):
        if cell.scenario.attack is not None:
            assert THRESHOLDS.of("drop", cell.scenario, cell.changed) is None


def test_no_attacked_cell_passes_with_a_model_at_chance() -> None:
    found = verdicts(lambda one: [c - CHANCE[one.cell.scenario.dataset] for c in one.clean])
    assert len(found) == 76
    assert [cell for cell, verdict in found.items() if verdict is CellVerdict.PASS] == []
    failing = [cell for cell, verdict in found.items() if verdict is CellVerdict.FAIL]
    print(
        f"a poisoned model at chance fails {len(failing)} of {len(found)} cells at the first look"
    )
    assert len(failing) >= 60


def test_no_attacked_cell_passes_where_the_model_names_the_largest_class() -> None:
    found = verdicts(lambda one: [c - GUESSING[one.cell.scenario.dataset] for c in one.clean])
    assert {cell for cell, verdict in found.items() if verdict is CellVerdict.PASS} == set()


def test_an_attack_without_effect_passes_only_where_that_was_recorded() -> None:
    found = verdicts(lambda one: [0.0] * len(one.values))
    assert {cell for cell, v in found.items() if v is CellVerdict.PASS} == NO_EFFECT_PASSES
    for one in ATTACKED:
        if name(one) in NO_EFFECT_PASSES:
            assert one.interval(one.values, THRESHOLDS.priors).low < 0.3
            assert "no effect is within noise" in limit(one).reason


def test_the_success_of_targeted_flips_has_limits_of_its_own() -> None:
    targeted = [one for one in FOUND if one.metric == "asr"]
    assert len(targeted) == 6
    for one in targeted:
        threshold = limit(one)
        assert threshold.metric == "asr"
        # a flip that always succeeds is another attack; one that never does is off
        high = one.interval([100.0] * len(one.values), THRESHOLDS.priors)
        assert judge(high, threshold.min, threshold.max) is not CellVerdict.PASS
        never = one.interval([0.0] * len(one.values), THRESHOLDS.priors)
        expected = "no effect is within noise" in threshold.reason
        assert (judge(never, threshold.min, threshold.max) is CellVerdict.PASS) is expected


@pytest.mark.parametrize("dataset", DATASETS)
def test_clean_arms_that_guess_fail(dataset: str) -> None:
    clean = [o for o in FOUND if o.metric == "clean" and o.cell.scenario.dataset == dataset]
    for one in clean:
        guess = one.interval([GUESSING[dataset]] * len(one.values), THRESHOLDS.priors)
        verdict = judge(guess, limit(one).min, limit(one).max)
        if "guessing cannot be told apart" not in limit(one).reason:
            assert verdict is not CellVerdict.PASS, name(one)


@pytest.mark.parametrize("dataset", DATASETS)
def test_guessing_is_what_the_test_set_says(dataset: str, shared_data: Path) -> None:
    data = load(dataset, shared_data)
    counts = data.test.labels.bincount()
    assert pytest.approx(100 * float(counts.max() / counts.sum()), abs=0.05) == GUESSING[dataset]
    assert pytest.approx(100 / data.num_classes) == CHANCE[dataset]
