from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness import baseline_update
from fedcore.harness.baseline import Arm, Comparison, against, measured, sound
from fedcore.harness.baseline_coverage import Coverage
from fedcore.harness.baseline_file import (
    Baseline,
    BaselineError,
    Entry,
    Source,
    file_name,
    folder_name,
)
from fedcore.harness.baseline_report import failures, headline, notes
from fedcore.harness.baseline_update import difference, source
from fedcore.harness.cells import Cell
from fedcore.harness.exact.trace import Trace
from fedcore.harness.gates import Noise
from fedcore.harness.outcome import Outcome

HERE = "torch 2, this CPU, cpu"
ELSEWHERE = "torch 3, other CPU, cpu"
NOISE = Noise(2, 4)
CODES = ("code", "code")
SOURCE = Source("2025-01-01", "c0ffee", False, "code", HERE, "this CPU", "pytest benchmark")
CLEAN = Scenario(strategy="fednova", optimizer="sgd", local_epochs=(1, 3))
MILD = CLEAN.but(attack="labelflip", malicious_fraction=0.1, poison_ratio=0.5)
STRONG = MILD.but(malicious_fraction=0.5)
TARGETED = MILD.but(attack="targetedflip", source_class=1, target_class=7)
TEST = "test_robustness.py::test_robustness"


def outcome(
    scenario: Scenario, clean: Sequence[float], poisoned: Sequence[float] = (), **changes: Any
) -> Outcome:
    found = Outcome(
        Cell("x", scenario, len(clean)),
        tuple(range(len(clean))),
        tuple(clean),
        tuple(poisoned),
        asr=(),
        gates=(),
        errors=(),
        diverged=(),
        noise=NOISE,
    )
    return dataclasses.replace(found, **changes)


OUTCOMES = {
    "clean": outcome(CLEAN, (97.0, 96.5, 96.0)),
    "mild": outcome(MILD, (97.0, 96.5, 96.0), (90.1, 0.1 + 0.2, 91.0)),
    "strong": outcome(STRONG, (97.0, 96.5, 96.0), (50.0, 60.0, 55.0)),
}


def covering(selected: Sequence[str] = tuple(OUTCOMES), every: Sequence[str] = ()) -> Coverage:
    tests = dict.fromkeys([*OUTCOMES, *every], TEST)
    return Coverage(tests, frozenset(selected), frozenset({"test_robustness.py"}))


def trace(tail: float, asr: float | None = None) -> Trace:
    """A run of two rounds with a tail accuracy of ``tail`` percent."""
    shares = None if asr is None else (0.0, asr / 100)
    return Trace(1000, (1, 2), (100, tail / 100), (2.3, 1 - tail / 100), shares, None, f"m{tail}")


def traces(outcomes: dict[str, Outcome]) -> dict[str, dict[int, Trace]]:
    found: dict[str, dict[int, Trace]] = {}
    for one in outcomes.values():
        scenario = one.cell.scenario
        shares = one.asr or [None] * len(one.seeds)
        for arm, values in ((scenario.clean_twin(), one.clean), (scenario, one.poisoned)):
            for seed, value, share in zip(one.seeds, values, shares, strict=False):
                given = share if arm == scenario else None
                found.setdefault(arm.hash, {})[seed] = trace(value, given)
    return found


def updated(
    old: Baseline | None, outcomes: dict[str, Outcome], coverage: Coverage, made: Source
) -> Baseline:
    return baseline_update.updated(old, BLANK, outcomes, traces(outcomes), coverage, made)


BLANK = Baseline("mnist5k", "quick", "cpu", HERE, {"mnist5k": "digest"})
BASELINE = updated(None, OUTCOMES, covering(), SOURCE)


def compared(
    outcomes: dict[str, Outcome],
    coverage: Coverage | None = None,
    here: str = HERE,
    baseline: Baseline | None = None,
) -> Comparison:
    return against(
        baseline or BASELINE,
        outcomes,
        traces(outcomes),
        coverage or covering(tuple(outcomes)),
        NOISE,
        here,
    )


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(BASELINE.to_text())
    assert Baseline.read(path) == BASELINE
    assert Baseline.read(path).to_text() == BASELINE.to_text()
    assert BASELINE.entries["mild"].values["poisoned"][1] == 0.1 + 0.2  # not rounded
    assert Scenario.from_dict(BASELINE.entries["mild"].scenario) == MILD


@pytest.mark.parametrize("name", ["clean", "poisoned"])
def test_a_number_that_was_edited_is_refused(name: str) -> None:
    content = json.loads(BASELINE.to_text())
    content["cells"]["mild"]["values"][name]["0"] -= 1e-9
    with pytest.raises(BaselineError, match="baseline b does not match its checksum"):
        Baseline.from_text(json.dumps(content), "b")


def test_any_cut_is_refused() -> None:
    text = BASELINE.to_text().rstrip()
    for end in range(0, len(text), 97):
        with pytest.raises(BaselineError, match="is cut off or no JSON"):
            Baseline.from_text(text[:end], "b")


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(BaselineError, match="NaN is no number"):
        Baseline.from_text(BASELINE.to_text().replace("96.5", "NaN"), "b")


@pytest.mark.parametrize(
    ("dataset", "model", "name"),
    [
        ("mnist5k", None, "mnist5k-quick-cpu"),
        ("bloodmnist", "resnet18", "bloodmnist-quick-resnet18-cpu"),
        ("npz:/some/where/My Data.npz", None, "npz-my_data-quick-cpu"),
        ("synthetic:400", "mobilenet_v2", "synthetic-400-quick-mobilenet_v2-cpu"),
    ],
)
def test_names_of_folders(dataset: str, model: str | None, name: str) -> None:
    assert folder_name(dataset, "quick", model, "cpu") == name


def test_names_of_files() -> None:
    assert re.fullmatch(r"torch-2-this-cpu-cpu-[0-9a-f]{8}\.json", file_name(HERE))
    assert file_name("a, b") != file_name("a-b")


def test_equal_values_are_unchanged() -> None:
    result = compared(OUTCOMES)
    assert result.unchanged == list(OUTCOMES)
    assert not result.failed
    assert result.judged
    assert headline(result) == "3 unchanged"
    assert list(notes(result, HERE, CODES)) == []
    assert list(failures(result)) == []


def test_a_shared_clean_twin_is_one_arm() -> None:
    result = compared(OUTCOMES)
    assert [arm.name for arm in result.arms] == ["clean", "mild", "strong"]
    alone = compared({"mild": OUTCOMES["mild"]})
    assert [arm.name for arm in alone.arms] == ["the clean twin of mild", "mild"]


BIT_OFF = {**OUTCOMES, "mild": outcome(MILD, (97.0, 96.5, 96.0), (90.1, 0.3, 91.0))}


def test_one_bit_fails_here_and_is_a_change_elsewhere() -> None:
    result = compared(BIT_OFF)
    assert result.changed == ["mild"]
    assert result.failed
    assert [(c.name, c.seed, c.where.round) for c in result.changes] == [("mild", 1, 2)]
    lines = list(failures(result))
    assert lines[0].startswith("not repeated: mild, seed 1: first in round 2: ")
    assert "of 1000 correct (-0.00 pp)" in lines[0]
    there = compared(BIT_OFF, here=ELSEWHERE)
    assert (there.changed, there.changes, there.failed) == (["mild"], [], False)


def test_a_clean_twin_that_changed_is_named_once() -> None:
    found = {
        "clean": outcome(CLEAN, (97.0, 96.5, 96.1)),
        "mild": outcome(MILD, (97.0, 96.5, 96.1), OUTCOMES["mild"].poisoned),
    }
    result = compared(found)
    assert result.changed == ["clean", "mild"]
    assert [(c.name, c.seed) for c in result.changes] == [("clean", 2)]
    alone = compared({"mild": found["mild"]})
    assert [c.name for c in alone.changes] == ["the clean twin of mild"]


def test_one_seed_is_enough_where_every_bit_must_be_equal() -> None:
    one = {"mild": outcome(MILD, (97.0,), (90.1,))}
    assert compared(one).unchanged == ["mild"]
    assert compared({"mild": outcome(MILD, (97.0,), (90.2,))}).failed
    assert compared(one, here=ELSEWHERE).short == {"mild": 1}


def test_runs_that_do_not_repeat_their_bits_are_not_held_to_them() -> None:
    # as on a GPU, where those that train together decide on the last bits
    result = against(BASELINE, BIT_OFF, traces(BIT_OFF), covering(), NOISE, None)
    assert (result.exact, result.failed) == (False, False)


def targeted(asr: Sequence[float], accuracy: float = 90.0) -> dict[str, Outcome]:
    clean = (97.0, 96.5, 97.0)
    return {"t": outcome(TARGETED, clean, (accuracy, 91.0, 90.0), asr=tuple(asr))}


def test_attack_success_is_compared_exactly_here_and_by_its_own_test_elsewhere() -> None:
    cells = Coverage({"t": TEST}, frozenset({"t"}), frozenset())
    before = targeted((5.0, 6.0, 5.5))
    baseline = updated(None, before, cells, SOURCE)
    assert measured(before["t"])["asr"] == {0: 5.0, 1: 6.0, 2: 5.5}
    slightly = compared(targeted((5.0, 6.0, 5.6)), cells, baseline=baseline)
    assert slightly.failed
    assert [(c.seed, c.where.text) for c in slightly.changes] == [
        (2, "first in round 2: ASR 5.50 % -> 5.60 %")
    ]
    there = {"here": ELSEWHERE, "baseline": baseline}
    assert not compared(targeted((9.0, 8.0, 5.0)), cells, **there).failed
    assert not compared(targeted((0.0, 0.0, 0.0)), cells, **there).failed  # lower is no loss
    risen = compared(targeted((75.0, 76.0, 75.5)), cells, **there)
    assert risen.failed
    assert not risen.tests.worse.any()
    lines = list(failures(risen))
    assert lines[0].startswith("worse: ASR of all arms (1), +70.00 pp (by seed 0: +70.00, 1: +70")
    assert any(line.startswith("worse: ASR of t: 5.50 -> 75.50 %, +70.00 pp") for line in lines)
    assert "attack success rate is higher by more than 3 pp" in lines[-1]


def test_what_was_made_elsewhere_is_said() -> None:
    result = compared(OUTCOMES, here=ELSEWHERE)
    assert (result.exact, result.recorded_on) == (False, HERE)
    (note,) = notes(result, ELSEWHERE, CODES)
    assert f"recorded on another machine class ({HERE}; here {ELSEWHERE})" in note
    assert "the canaries" in note


def test_failed_audits_are_not_compared() -> None:
    found = {**OUTCOMES, "mild": dataclasses.replace(OUTCOMES["mild"], errors=("audit",))}
    result = compared(found)
    assert result.unmeasured == ["mild"]
    assert not sound(found["mild"])
    new = updated(BASELINE, found, covering(), SOURCE)
    assert new.entries["mild"] is BASELINE.entries["mild"]


def test_what_is_new_not_selected_or_gone() -> None:
    some = {"clean": OUTCOMES["clean"], "fresh": outcome(CLEAN.but(lr=0.3), (1.0, 2.0))}
    coverage = covering(tuple(some), ("fresh",))
    result = compared(some, coverage)
    assert (result.new, result.unselected, result.gone) == (["fresh"], ["mild", "strong"], {})
    assert not result.complete
    left = Coverage({"clean": TEST}, frozenset({"clean"}), frozenset({"test_robustness.py"}))
    result = compared({"clean": OUTCOMES["clean"]}, left)
    assert result.gone == {"mild": None, "strong": None}
    assert result.failed
    assert list(failures(result)) == [
        f"gone: {name} is in the baseline and no longer in the suite" for name in ("mild", "strong")
    ]
    another = Coverage({"clean": "test_x.py::t"}, frozenset({"clean"}), left.files)
    assert compared({"clean": OUTCOMES["clean"]}, another).gone == {}


def test_fields_that_came_later_do_not_redefine_a_cell() -> None:
    old = {k: v for k, v in BASELINE.entries["clean"].scenario.items() if k != "redraw"}
    entry = dataclasses.replace(BASELINE.entries["clean"], scenario=old, hash="other")
    baseline = dataclasses.replace(BASELINE, entries={**BASELINE.entries, "clean": entry})
    assert not compared(OUTCOMES, baseline=baseline).redefined
    gone = dataclasses.replace(entry, scenario={**old, "colour": "red"})
    baseline = dataclasses.replace(BASELINE, entries={**BASELINE.entries, "clean": gone})
    result = compared(OUTCOMES, baseline=baseline)
    assert result.redefined["clean"][-1] == "colour: red -> -"
    assert result.failed


def test_a_loss_in_all_arms_fails_by_the_pooled_test() -> None:
    worse = {
        name: dataclasses.replace(
            found,
            clean=tuple(v - 12 for v in found.clean),
            poisoned=tuple(v - 12 for v in found.poisoned),
        )
        for name, found in OUTCOMES.items()
    }
    result = compared(worse, here=ELSEWHERE)
    assert result.failed
    lines = list(failures(result))
    assert lines[0].startswith("worse: all arms (3), -12.00 pp (by seed 0: -12.00, 1: -12.00, 2")
    assert lines[1].startswith("worse: arms of fednova (3), -12.00 pp")
    assert "rule: on another machine class it fails where" in lines[-1]
    better = compared(OUTCOMES, here=ELSEWHERE, baseline=updated(None, worse, covering(), SOURCE))
    assert better.changed
    assert not better.failed


def test_arms_of_different_numbers_of_seeds() -> None:
    arm = Arm("a", "fednova", {0: 1.0, 1: 2.0, 5: 9.0}, {0: 1.5, 1: 2.0, 2: 3.0})
    assert arm.differences == {0: 0.5, 1: 0.0}
    assert arm.changed


LATER = dataclasses.replace(SOURCE, date="2026-01-01", commit="beef", code="other")


def test_an_update_of_equal_values_keeps_the_file_and_its_source() -> None:
    assert updated(BASELINE, OUTCOMES, covering(), LATER) is BASELINE


def test_a_changed_file_is_of_one_source() -> None:
    new = updated(BASELINE, BIT_OFF, covering(), LATER)
    assert new.source == LATER
    assert list(difference(BASELINE, new)) == [
        "changed  mild: clean 96.500, poisoned 60.467 -> 60.467"
    ]
    only = {"mild": BIT_OFF["mild"]}
    with pytest.raises(BaselineError) as refused:
        updated(BASELINE, only, covering(("mild",)), LATER)
    assert str(refused.value).startswith(
        "a baseline is of one machine and one commit, and 2 recorded cells (clean, strong) would "
        "keep numbers of others (commit c0ffee -> beef; code code -> other): record all cells"
    )
    assert (
        updated(BASELINE, only, covering(("mild",)), SOURCE).entries["clean"]
        == (BASELINE.entries["clean"])
    )


def test_bits_below_the_tail_values_are_a_difference() -> None:
    seeds = dict(BASELINE.traces[CLEAN.hash])
    seeds[0] = dataclasses.replace(seeds[0], model="another")
    old = dataclasses.replace(BASELINE, traces={**BASELINE.traces, CLEAN.hash: seeds})
    new = updated(old, OUTCOMES, covering(), LATER)
    # the arm is the clean twin of every cell
    assert list(difference(old, new)) == [
        f"changed  {name}: bits below the tail values" for name in OUTCOMES
    ]


def test_a_partial_update_keeps_the_traces_of_the_other_cells() -> None:
    new = updated(BASELINE, {"mild": BIT_OFF["mild"]}, covering(("mild",)), SOURCE)
    assert set(new.traces) == {CLEAN.hash, MILD.hash, STRONG.hash}
    assert new.traces[STRONG.hash] == BASELINE.traces[STRONG.hash]
    assert new.traces[MILD.hash][1] == trace(0.3)
    fewer = {"mild": outcome(MILD, (97.0, 96.5), (90.1, 0.3))}
    new = updated(BASELINE, fewer, covering(("mild",)), SOURCE)
    assert set(new.traces[CLEAN.hash]) == {0, 1, 2}  # the other cells have a third seed
    assert set(new.traces[MILD.hash]) == {0, 1}


def test_an_update_shows_each_difference() -> None:
    entries: dict[str, Entry] = {**BASELINE.entries, "old": BASELINE.entries["clean"]}
    old = dataclasses.replace(BASELINE, entries=entries)
    found = {
        "clean": outcome(CLEAN, (95.0, 94.5)),
        "mild": OUTCOMES["mild"],
        "strong": outcome(STRONG.but(lr=0.7), (97.0, 96.5, 96.0), (50.0, 60.0, 58.0)),
        "fresh": outcome(CLEAN.but(lr=0.3), (1.0, 2.0)),
    }
    new = updated(old, found, covering(tuple(found), ("fresh",)), SOURCE)
    assert list(difference(old, new)) == [
        "changed  clean: clean 96.500 -> 94.750, seeds 3 -> 2",
        "changed  strong: clean 96.500, poisoned 55.000 -> 56.000, another scenario",
        "new      fresh: clean 1.500",
        "gone     old: clean 96.500",
    ]


def test_the_source_is_this_code_and_machine() -> None:
    made = source(HERE, "pytest benchmark")
    assert made.fingerprint == HERE
    assert made.machine
    assert len(made.code) == 16
