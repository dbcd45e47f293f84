"""Real pytest sessions on a small suite: recorded, compared, recorded again."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from tests.harness.baselines.baseline_suite import (
    CLEAN,
    ELSEWHERE,
    ITEM,
    NAME,
    NOVA,
    POISONED,
    both,
    content_of,
    elsewhere,
    file_of,
    shift,
    tamper,
)

pytest_plugins = ["pytester"]


def test_recording_shows_first_what_changes(suite: Any) -> None:
    result = suite.run("--update-baseline", *NOVA)
    assert result.ret == 0
    result.assert_outcomes(passed=3, deselected=5)
    shown = suite.text(result)
    assert re.search(rf"new +{CLEAN}: clean \d+\.\d+\n", shown)
    assert re.search(rf"new +{POISONED}: clean \d+\.\d+, poisoned \d+\.\d+\n", shown)
    assert shown.index(f"new      {CLEAN}") < shown.index(f"written: baselines/{NAME}/")

    content = content_of(suite)
    assert list(content["cells"]) == [CLEAN, POISONED]
    assert content["schema"] == 2
    assert (content["dataset"], content["profile"], content["device"]) == (
        "mnist5k", "quick", "cpu",
    )  # fmt: skip
    assert list(content["data"]) == ["synthetic:1000"]
    source = content["source"]
    assert source["command"] == "pytest --device=cpu -k fednova --update-baseline"
    assert set(source) == {
        "date", "commit", "dirty", "code", "fingerprint", "machine", "command",
    }  # fmt: skip
    cell = content["cells"][POISONED]
    assert cell["test"] == "test_suite.py::test_robustness"
    results = {c["id"]: c for c in suite.results()}
    assert cell["hash"] == results[POISONED]["hash"]
    given = {k: v for k, v in results[POISONED]["scenario"].items() if v is not None}
    assert cell["scenario"] == given
    for metric in ("clean", "poisoned"):
        found = results[POISONED]["values"][metric]
        assert cell["values"][metric] == {"0": found[0], "1": found[1]}
    assert str(suite.path) not in file_of(suite).read_text()
    # the runs: of two arms, each on two seeds, as their records have them
    assert set(content["runs"]) == {results[CLEAN]["hash"], results[POISONED]["hash"]}
    record = next(p for p in suite.records() if POISONED in p.parent.name and "seed1-" in p.name)
    written = json.loads(record.read_text())
    run = content["runs"][written_hash(content, POISONED)]["1"]
    assert set(run) == {"tested", "correct", "loss", "model"}
    assert [c / run["tested"] for c in run["correct"]] == written["accuracy"]
    assert all(isinstance(c, int) for c in run["correct"])
    assert (run["loss"], run["model"]) == (written["loss"], written["model_digest"])


def written_hash(content: dict[str, Any], cell: str) -> str:
    return content["cells"][cell]["hash"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy=krum"], "with --strategy it has others: leave out one of the two"),
        (["--seeds=1"], "needs the suite's own 2 seeds or more, got --seeds 1"),
        (["-k", "nothing"], "no cell is selected, so nothing to record"),
    ],
)
def test_what_later_sessions_could_not_be_compared_on_is_not_recorded(
    recorded: Any, arguments: list[str], message: str
) -> None:
    before = file_of(recorded).read_text()
    result = recorded.run("--update-baseline", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in recorded.text(result)
    assert file_of(recorded).read_text() == before


def test_the_same_code_on_the_same_machine_is_unchanged(recorded: Any) -> None:
    before = file_of(recorded).read_text()
    result = recorded.run(*NOVA, "-v")
    assert result.ret == 0
    result.assert_outcomes(passed=3, deselected=5)
    assert f"{ITEM} PASSED" in recorded.text(result)
    assert f"baseline {NAME}/{file_of(recorded).name}: 2 unchanged" in recorded.text(result)

    again = recorded.run(*NOVA, "--update-baseline")
    assert again.ret == 0
    assert "nothing differs, the file stays as it is" in recorded.text(again)
    assert file_of(recorded).read_text() == before


def test_the_comparison_is_no_part_of_a_selection(recorded: Any) -> None:
    result = recorded.run("--collect-only", "-q", *NOVA)
    ids = [line for line in result.stdout.lines if "::" in line]
    assert ids == [f"test_suite.py::test_robustness[{cell}]" for cell in (CLEAN, POISONED)]
    none = recorded.run("-k", "test_other")
    none.assert_outcomes(passed=1, deselected=6)
    assert "baseline" not in recorded.text(none)
    off = recorded.run(*NOVA, "--baseline=off")
    off.assert_outcomes(passed=2, deselected=5)


def test_without_a_baseline_nothing_is_compared(suite: Any) -> None:
    result = suite.run("-k", CLEAN)
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=6)
    other = suite.run("-k", CLEAN, "--profile=smoke", "--update-baseline")
    assert other.ret == 0
    assert len(list((suite.path / "baselines" / "mnist5k-smoke-cpu").glob("*.json"))) == 1
    suite.run("-k", CLEAN).assert_outcomes(passed=1, deselected=6)


def test_a_loss_elsewhere_fails_and_says_where_and_by_what_rule(recorded: Any) -> None:
    tamper(recorded, both(shift(8), elsewhere))
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1, deselected=5)
    shown = recorded.text(result)
    assert f"FAILED {ITEM}" in shown
    assert re.search(
        r"worse: all arms \(2\), -8\.00 pp \(by seed 0: -8\.00, 1: -8\.00\), score -\d+\.\d, p ",
        shown,
    )
    assert re.search(r"worse: arms of fednova, iid \(2\), -8\.00 pp .*, p \S+ after Holm", shown)
    assert re.search(
        rf"no finding: {CLEAN}: \d+\.\d\d -> \d+\.\d\d %, -8\.00 pp .*, p \S+ after Holm, the "
        "least of 2",
        shown,
    )  # of one arm and two seeds little is concluded
    assert "rule: on another machine class it fails where" in shown
    assert "p <= 0.005 after Holm's weighted correction" in shown
    assert "gate of other machine classes, two-sided: worse, 2 findings of 5 tests" in shown
    assert "not repeated" not in shown
    assert "if this is meant: pytest --device=cpu -k fednova --update-baseline" in shown
    assert "Traceback" not in shown


def test_a_gain_elsewhere_fails_as_a_loss_does(recorded: Any) -> None:
    tamper(recorded, both(shift(-8), elsewhere))
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "better: all arms (2), +8.00 pp (by seed 0: +8.00, 1: +8.00)" in recorded.text(result)


def test_any_change_on_the_same_machine_class_fails_until_it_is_recorded(recorded: Any) -> None:
    tamper(recorded, shift(2, POISONED, seeds="1"))
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1, deselected=5)
    shown = recorded.text(result)
    assert "1 unchanged, 1 changed" in shown
    assert re.search(
        rf"not repeated: {POISONED}, seed 1: first in round 1: \d+ -> \d+ of 1000 correct "
        r"\(-2\.00 pp\); tail accuracy -2\.00 pp",
        shown,
    )
    # pytest's own summary repeats the message where CI is set
    report = shown.partition("= short test summary info =")[0]
    assert report.count("not repeated: ") == 1
    assert "rule: on the machine class that recorded it a run repeats its baseline" in shown
    assert "the code that computes is the one recorded" in shown
    update = recorded.run(*NOVA, "--update-baseline")
    assert re.search(rf"changed +{POISONED}: clean .*, poisoned (\S+) -> ", recorded.text(update))
    assert "2 unchanged" in recorded.text(recorded.run(*NOVA))


def last_bit(content: dict[str, Any]) -> None:
    run = content["runs"][written_hash(content, CLEAN)]["0"]
    run["loss"][1] = math.nextafter(run["loss"][1], 1)


def another_model(content: dict[str, Any]) -> None:
    content["runs"][written_hash(content, CLEAN)]["0"]["model"] = "0123456789abcdef"


@pytest.mark.parametrize(
    ("change", "where"),
    [(last_bit, "first in round 2: loss "), (another_model, "the final models differ (0123456")],
)
def test_one_bit_fails_on_the_same_machine_class_and_not_elsewhere(
    recorded: Any, change: Any, where: str
) -> None:
    tamper(recorded, change)
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    shown = recorded.text(result)
    assert f"not repeated: {CLEAN}, seed 0: {where}" in shown
    # its twin is the clean arm of the other cell: both have changed, the arm is named once
    assert "2 changed" in shown
    tamper(recorded, elsewhere)
    assert recorded.run(*NOVA).ret == 0


def test_a_change_of_the_code_is_named(recorded: Any) -> None:
    def older(content: dict[str, Any]) -> None:
        content["source"]["code"] = "0000000000000000"

    tamper(recorded, both(last_bit, older))
    result = recorded.run(*NOVA)
    assert "the code that computes has changed since: 0000000000000000 -> " in recorded.text(result)
    # other code that computes the same is no change
    recorded.run(*NOVA, "--update-baseline")
    tamper(recorded, older)
    assert recorded.run(*NOVA).ret == 0


def test_another_machine_class_is_compared_statistically_and_said(recorded: Any) -> None:
    tamper(recorded, both(shift(0.2), elsewhere))
    result = recorded.run(*NOVA)
    assert result.ret == 0
    shown = recorded.text(result)
    assert f"recorded on another machine class ({ELSEWHERE}; here torch" in shown
    assert "2 changed" in shown
    assert re.search(rf"{CLEAN}: .* -0\.20 pp \(by seed 0: -0\.20, 1: -0\.20\)", shown)


def test_each_machine_class_has_a_file_of_its_own(recorded: Any) -> None:
    here = file_of(recorded)
    tamper(recorded, both(shift(8), elsewhere))
    there = here.with_name("there.json")
    here.rename(there)
    before = there.read_text()
    assert recorded.run(*NOVA).ret == pytest.ExitCode.TESTS_FAILED  # held to the other class
    update = recorded.run(*NOVA, "--update-baseline")
    assert update.ret == 0
    assert f"written: baselines/{NAME}/{here.name}" in recorded.text(update)
    assert re.search(rf"new +{CLEAN}: clean", recorded.text(update))
    assert there.read_text() == before
    result = recorded.run(*NOVA)  # from now on to its own
    assert result.ret == 0
    assert f"baseline {NAME}/{here.name}: 2 unchanged" in recorded.text(result)


@pytest.mark.parametrize("fact", ["commit", "code", "fingerprint"])
def test_a_part_of_the_cells_is_recorded_only_beside_others_of_its_own_source(
    recorded: Any, fact: str
) -> None:
    tamper(recorded, shift(3, CLEAN))
    assert recorded.run("-k", CLEAN, "--update-baseline").ret == 0
    assert recorded.run(*NOVA).ret == 0

    def older(content: dict[str, Any]) -> None:
        content["source"][fact] = "another"

    tamper(recorded, both(shift(3, CLEAN), older))
    before = file_of(recorded).read_text()
    refused = recorded.run("-k", CLEAN, "--update-baseline")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    shown = recorded.text(refused)
    assert "a baseline is of one machine and one commit, and 1 recorded cells" in shown
    assert f"({POISONED}) would keep numbers of others" in shown
    assert "record all cells at once with pytest benchmark --update-baseline" in shown
    assert file_of(recorded).read_text() == before
    # all that is recorded, at once: one source, the new one
    assert recorded.run(*NOVA, "--update-baseline").ret == 0
    assert content_of(recorded)["source"][fact] != "another"
    assert recorded.run(*NOVA).ret == 0
