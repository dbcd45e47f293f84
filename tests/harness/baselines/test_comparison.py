from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.harness.baselines.comparison import Arm, against, measured, sound
from fedcore.harness.baselines.coverage import Coverage
from fedcore.harness.baselines.file import (
    Baseline,
    BaselineError,
    file_name,
    folder_name,
)
from fedcore.harness.baselines.report import failures, headline, notes
from fedcore.harness.statistics.scales import platform_scales
from fedcore.harness.suite.outcome import Outcome
from tests.harness.baselines.baseline_values import (
    BASELINE,
    BIT_OFF,
    CLEAN,
    CODES,
    ELSEWHERE,
    HERE,
    MILD,
    OUTCOMES,
    SOURCE,
    TARGETED,
    TEST,
    compared,
    covering,
    outcome,
    traces,
    updated,
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
    result = against(BASELINE, BIT_OFF, traces(BIT_OFF), covering(), None)
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
    assert not compared(targeted((0.0, 0.0, 0.0)), cells, **there).failed
    risen = compared(targeted((85.0, 86.0, 85.5)), cells, **there)
    assert risen.failed
    assert {test.metric for test in risen.tests.findings} == {"asr"}
    lines = list(failures(risen))
    assert lines[0].startswith("worse: ASR of all arms (1), +80.00 pp (by seed 0: +80.00, 1: +80")
    assert any(line.startswith("worse: ASR of t: 5.50 -> 85.50 %, +80.00 pp") for line in lines)
    assert "attack success rate" in lines[-1]
    fallen = updated(None, targeted((85.0, 86.0, 85.5)), cells, SOURCE)
    lines = list(failures(compared(before, cells, here=ELSEWHERE, baseline=fallen)))
    assert lines[0].startswith("better: ASR of all arms (1), -80.00 pp")


def test_what_was_made_elsewhere_is_said() -> None:
    result = compared(OUTCOMES, here=ELSEWHERE)
    assert (result.exact, result.recorded_on) == (False, HERE)
    note, *gate = notes(result, ELSEWHERE, CODES)
    assert f"recorded on another machine class ({HERE}; here {ELSEWHERE})" in note
    assert "the canaries" in note
    assert gate == [
        "gate of other machine classes, two-sided: unchanged, 0 findings of 6 tests "
        f"(scales in pp: iid {platform_scales()['iid']:.3g})",
        "  no finding: all arms (3), +0.00 pp (by seed 0: +0.00, 1: +0.00, 2: +0.00), "
        "score +0.0, p 1 after Holm",
        "  no finding: arms of fednova, iid (3), +0.00 pp (by seed 0: +0.00, 1: +0.00, "
        "2: +0.00), score +0.0, p 1 after Holm",
        "  no finding: clean: 96.50 -> 96.50 %, +0.00 pp (by seed 0: +0.00, 1: +0.00, 2: +0.00), "
        "score +0.0, p 1 after Holm, the least of 3",
        "  none: diverged runs 0 -> 0 of 9, p 1 after Holm",
    ]


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
    assert lines[1].startswith("worse: arms of fednova, iid (3), -12.00 pp")
    assert "rule: on another machine class it fails where" in lines[-1]
    better = compared(OUTCOMES, here=ELSEWHERE, baseline=updated(None, worse, covering(), SOURCE))
    assert better.changed
    assert better.failed  # nobody asked for it: as loud as a loss
    lines = list(failures(better))
    assert lines[0].startswith("better: all arms (3), +12.00 pp (by seed 0: +12.00")
    assert lines[1].startswith("better: arms of fednova, iid (3), +12.00 pp")


def test_runs_that_diverge_elsewhere_are_counted_and_named() -> None:
    lost = {
        name: dataclasses.replace(
            found, clean=(10.0,) * 3, poisoned=(10.0,) * len(found.poisoned), diverged=("x",)
        )
        for name, found in OUTCOMES.items()
    }
    nan = {
        arm: {seed: dataclasses.replace(one, diverged=1) for seed, one in some.items()}
        for arm, some in traces(lost).items()
    }
    result = against(BASELINE, lost, nan, covering(), ELSEWHERE)
    assert result.failed
    lines = list(failures(result))
    assert ", diverged 0 -> 9, score " in lines[0]
    assert any(line.startswith("worse: diverged runs 0 -> 9 of 9, p 0.0") for line in lines) or any(
        "diverged runs 0 -> 9 of 9" in line for line in notes(result, ELSEWHERE, CODES)
    )


def test_arms_of_different_numbers_of_seeds() -> None:
    arm = Arm("a", "fednova", {0: 1.0, 1: 2.0, 5: 9.0}, {0: 1.5, 1: 2.0, 2: 3.0})
    assert arm.differences == {0: 0.5, 1: 0.0}
    assert arm.changed
