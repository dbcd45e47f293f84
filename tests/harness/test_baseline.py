from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.baseline import Arm, Comparison, against, measured, sound
from fedcore.harness.baseline_coverage import Coverage
from fedcore.harness.baseline_file import Baseline, BaselineError, Entry, Source, file_name
from fedcore.harness.baseline_report import failures, headline, notes
from fedcore.harness.baseline_update import difference, source, updated
from fedcore.harness.cells import Cell
from fedcore.harness.gates import Noise
from fedcore.harness.outcome import Outcome

HERE = "torch 2, this CPU, cpu"
NOISE = Noise(2, 4)
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


BLANK = Baseline("mnist5k", "quick", "cpu", {"mnist5k": "digest"}, {})
BASELINE = updated(None, BLANK, OUTCOMES, covering(), SOURCE)


def compared(outcomes: dict[str, Outcome], coverage: Coverage | None = None) -> Comparison:
    return against(BASELINE, outcomes, coverage or covering(tuple(outcomes)), NOISE, HERE)


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
        ("mnist5k", None, "mnist5k-quick-cpu.json"),
        ("bloodmnist", "resnet18", "bloodmnist-quick-resnet18-cpu.json"),
        ("npz:/some/where/My Data.npz", None, "npz-my_data-quick-cpu.json"),
        ("synthetic:400", "mobilenet_v2", "synthetic-400-quick-mobilenet_v2-cpu.json"),
    ],
)
def test_names_of_files(dataset: str, model: str | None, name: str) -> None:
    assert file_name(dataset, "quick", model, "cpu") == name


def test_equal_values_are_unchanged() -> None:
    result = compared(OUTCOMES)
    assert result.unchanged == list(OUTCOMES)
    assert not result.failed
    assert result.judged
    assert headline(result) == "3 unchanged"
    assert list(notes(result, HERE)) == []
    assert list(failures(result)) == []


def test_a_shared_clean_twin_is_one_arm() -> None:
    result = compared(OUTCOMES)
    assert [arm.name for arm in result.arms] == ["clean", "mild", "strong"]
    alone = compared({"mild": OUTCOMES["mild"]})
    assert [arm.name for arm in alone.arms] == ["the clean twin of mild", "mild"]


def test_one_bit_is_a_change() -> None:
    found = {**OUTCOMES, "mild": outcome(MILD, (97.0, 96.5, 96.0), (90.1, 0.3, 91.0))}
    result = compared(found)
    assert result.changed == ["mild"]
    assert not result.failed


def test_attack_success_is_compared_and_not_judged() -> None:
    before = outcome(TARGETED, (97.0, 96.5), (90.0, 91.0), asr=(5.0, 6.0))
    cells = Coverage({"t": TEST}, frozenset({"t"}), frozenset())
    baseline = updated(None, BLANK, {"t": before}, cells, SOURCE)
    after = dataclasses.replace(before, asr=(95.0, 96.0))
    result = against(baseline, {"t": after}, cells, NOISE, HERE)
    assert result.changed == ["t"]
    assert not result.failed
    assert measured(before)["asr"] == {0: 5.0, 1: 6.0}


def test_what_was_made_elsewhere_is_said() -> None:
    result = against(BASELINE, OUTCOMES, covering(), NOISE, "torch 3, other CPU, cpu")
    assert result.foreign == [HERE]
    (note,) = notes(result, "torch 3, other CPU, cpu")
    assert (
        "recorded on another machine class or version (torch 2, this CPU, cpu; here torch 3" in note
    )


def test_failed_audits_are_not_compared() -> None:
    found = {**OUTCOMES, "mild": dataclasses.replace(OUTCOMES["mild"], errors=("audit",))}
    result = compared(found)
    assert result.unmeasured == ["mild"]
    assert not sound(found["mild"])
    new = updated(BASELINE, BLANK, found, covering(), SOURCE)
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
    assert not against(baseline, OUTCOMES, covering(), NOISE, HERE).redefined
    gone = dataclasses.replace(entry, scenario={**old, "colour": "red"})
    baseline = dataclasses.replace(BASELINE, entries={**BASELINE.entries, "clean": gone})
    result = against(baseline, OUTCOMES, covering(), NOISE, HERE)
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
    result = compared(worse)
    assert result.failed
    lines = list(failures(result))
    assert lines[0].startswith("worse: all arms (3), -12.00 pp (by seed 0: -12.00, 1: -12.00, 2")
    assert lines[1].startswith("worse: arms of fednova (3), -12.00 pp")
    assert "rule: fails where" in lines[-1]
    better = against(
        updated(None, BLANK, worse, covering(), SOURCE), OUTCOMES, covering(), NOISE, HERE
    )
    assert better.changed
    assert not better.failed


def test_arms_of_different_numbers_of_seeds() -> None:
    arm = Arm("a", "fednova", {0: 1.0, 1: 2.0, 5: 9.0}, {0: 1.5, 1: 2.0, 2: 3.0})
    assert arm.differences == {0: 0.5, 1: 0.0}
    assert arm.changed


def test_an_update_of_equal_values_keeps_the_file_and_its_source() -> None:
    later = dataclasses.replace(SOURCE, date="2026-01-01", commit="beef", code="other")
    assert updated(BASELINE, BLANK, OUTCOMES, covering(), later) == BASELINE
    moved = dataclasses.replace(later, fingerprint="elsewhere")
    new = updated(BASELINE, BLANK, OUTCOMES, covering(), moved)
    assert {entry.source for entry in new.entries.values()} == {moved}
    assert "another machine or version" in next(difference(BASELINE, new))


def test_an_update_shows_each_difference() -> None:
    entries: dict[str, Entry] = {**BASELINE.entries, "old": BASELINE.entries["clean"]}
    old = dataclasses.replace(BASELINE, entries=entries)
    found = {
        "clean": outcome(CLEAN, (95.0, 94.5)),
        "mild": OUTCOMES["mild"],
        "strong": outcome(STRONG.but(lr=0.7), (97.0, 96.5, 96.0), (50.0, 60.0, 58.0)),
        "fresh": outcome(CLEAN.but(lr=0.3), (1.0, 2.0)),
    }
    new = updated(old, BLANK, found, covering(tuple(found), ("fresh",)), SOURCE)
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
