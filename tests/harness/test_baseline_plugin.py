"""Real pytest sessions on a small suite: recorded, compared, recorded again."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.harness.baseline_suite import (
    CLEAN,
    ITEM,
    NAME,
    NOVA,
    POISONED,
    content_of,
    file_of,
    shift,
    tamper,
)

pytest_plugins = ["pytester"]


@pytest.fixture
def recorded(suite: Any) -> Any:
    """A suite whose FedNova cells are recorded."""
    result = suite.run("--update-baseline", *NOVA)
    assert result.ret == 0
    return suite


def test_recording_shows_first_what_changes(suite: Any) -> None:
    result = suite.run("--update-baseline", *NOVA)
    assert result.ret == 0
    result.assert_outcomes(passed=3, deselected=5)
    shown = suite.text(result)
    assert re.search(rf"new +{CLEAN}: clean \d+\.\d+\n", shown)
    assert re.search(rf"new +{POISONED}: clean \d+\.\d+, poisoned \d+\.\d+\n", shown)
    assert shown.index(f"new      {CLEAN}") < shown.index(f"written: baselines/{NAME}")

    content = content_of(suite)
    assert list(content["cells"]) == [CLEAN, POISONED]
    assert content["schema"] == 1
    assert (content["dataset"], content["profile"], content["device"]) == (
        "mnist5k", "quick", "cpu",
    )  # fmt: skip
    assert list(content["data"]) == ["synthetic:1000"]
    (source,) = content["sources"]
    assert source["command"] == "pytest --device=cpu -k fednova --update-baseline"
    assert set(source) == {
        "date", "commit", "dirty", "code", "fingerprint", "machine", "command",
    }  # fmt: skip
    cell = content["cells"][POISONED]
    assert cell["test"] == "test_suite.py::test_robustness"
    results = {c["id"]: c for c in suite.results()}
    assert cell["hash"] == results[POISONED]["hash"]
    assert cell["scenario"] == results[POISONED]["scenario"]
    for metric in ("clean", "poisoned"):
        found = results[POISONED]["values"][metric]
        assert cell["values"][metric] == {"0": found[0], "1": found[1]}
    assert str(suite.path) not in file_of(suite).read_text()


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
    assert f"baseline {NAME}: 2 unchanged" in recorded.text(result)

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
    assert (suite.path / "baselines" / "mnist5k-smoke-cpu.json").is_file()
    suite.run("-k", CLEAN).assert_outcomes(passed=1, deselected=6)


def test_a_loss_fails_and_says_where_and_by_what_rule(recorded: Any) -> None:
    tamper(recorded, shift(25))
    result = recorded.run(*NOVA)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1, deselected=5)
    shown = recorded.text(result)
    assert f"FAILED {ITEM}" in shown
    assert re.search(
        r"worse: all arms \(2\), -25\.00 pp \(by seed 0: -25\.00, 1: -25\.00\), p ", shown
    )
    assert re.search(
        rf"worse: {CLEAN}: \d+\.\d\d -> \d+\.\d\d %, -25\.00 pp .*, p \S+ after Holm", shown
    )
    assert "rule: fails where" in shown
    assert "p <= 0.01 after Holm's correction" in shown
    assert "same machine, same seeds, so the code has changed them" in shown
    assert "if this is meant: pytest --device=cpu -k fednova --update-baseline" in shown
    assert "Traceback" not in shown


def test_a_small_change_is_told_and_passes(recorded: Any) -> None:
    tamper(recorded, shift(0.5))
    result = recorded.run(*NOVA)
    assert result.ret == 0
    shown = recorded.text(result)
    assert "2 changed" in shown
    assert "changed numbers: same machine, same seeds, so the code has changed them" in shown
    assert re.search(rf"{CLEAN}: .* -0\.50 pp \(by seed 0: -0\.50, 1: -0\.50\)", shown)
    update = recorded.run(*NOVA, "--update-baseline")
    assert re.search(rf"changed +{CLEAN}: clean (\S+) -> ", recorded.text(update))
    assert "2 unchanged" in recorded.text(recorded.run(*NOVA))


def test_another_machine_class_is_compared_statistically_and_said(recorded: Any) -> None:
    def elsewhere(content: dict[str, Any]) -> None:
        content["sources"][0]["fingerprint"] = "torch 9.9, another CPU, cpu"

    tamper(recorded, elsewhere)
    result = recorded.run(*NOVA)
    assert result.ret == 0
    assert "recorded on another machine class or version (torch 9.9, another CPU, cpu; here" in (
        recorded.text(result)
    )
    tamper(recorded, shift(25))
    assert recorded.run(*NOVA).ret == pytest.ExitCode.TESTS_FAILED
    update = recorded.run(*NOVA, "--update-baseline")
    assert "another machine or version" in recorded.text(update)


def test_a_partial_update_keeps_the_other_cells_and_their_source(recorded: Any) -> None:
    tamper(recorded, shift(3, CLEAN))

    def old(content: dict[str, Any]) -> None:
        content["sources"][0]["date"] = "2020-01-01T00:00:00+00:00"

    tamper(recorded, old)
    before = content_of(recorded)
    assert recorded.run("-k", CLEAN, "--update-baseline").ret == 0
    after = content_of(recorded)
    kept = before["cells"][POISONED]
    assert after["cells"][POISONED]["values"] == kept["values"]
    assert after["sources"][after["cells"][POISONED]["source"]] == before["sources"][0]
    assert after["sources"][after["cells"][CLEAN]["source"]]["date"] > "2021"
    assert recorded.run(*NOVA).ret == 0


def test_a_cell_without_values_is_not_recorded(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcore.harness.outcome.buffer_problems", lambda scenario: ["planted"])
    before = file_of(recorded).read_text()
    result = recorded.run(*NOVA, "--update-baseline")
    result.assert_outcomes(failed=3, deselected=5)
    assert f"not recorded, they have no values: {CLEAN}, {POISONED}" in recorded.text(result)
    assert file_of(recorded).read_text() == before
    compared = recorded.run(*NOVA)
    compared.assert_outcomes(failed=2, skipped=1, deselected=5)
    assert "2 without values" in recorded.text(compared)


def test_a_rerun_of_the_failed_comparison_alone_has_the_cells(recorded: Any) -> None:
    tamper(recorded, shift(25))
    first = recorded.run(*NOVA, "-p", "cacheprovider")
    assert first.ret == pytest.ExitCode.TESTS_FAILED
    again = recorded.run(*NOVA, "-p", "cacheprovider", "--lf")
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert "worse: all arms (2)" in recorded.text(again)


def test_junit_carries_the_comparison(recorded: Any) -> None:
    tamper(recorded, shift(25))
    recorded.run(*NOVA, "--junitxml=junit.xml")
    text = (recorded.path / "junit.xml").read_text()
    assert 'name="fedcore.baseline" value="2 changed"' in text
    assert 'name="fedcore.baseline.failure" value="worse: all arms (2), -25.00 pp' in text
    assert 'name="fedcore.baseline.verdict" value="FAIL"' in text
    assert 'name="fedcore.baseline.rule" value="rule: fails where' in text
    assert 'name="fedcore.baseline.all arms" value="-25.0000 [-' in text
    assert re.search(r'name="fedcore.baseline.fednova" value="[^"]* n=2 p=[^"]* after Holm"', text)


def test_the_comparison_is_written_beside_the_other_results(recorded: Any) -> None:
    tamper(recorded, shift(25))
    result = recorded.run(*NOVA, "--report=out")
    assert "written: out/baseline.json" in recorded.text(result)
    one, other = (
        json.loads((recorded.path / place / "baseline.json").read_text())
        for place in (".fedcore", "out")
    )
    assert one == other
    assert (one["verdict"], one["headline"]) == ("FAIL", "2 changed")
    assert one["cells"]["changed"] == [CLEAN, POISONED]
    assert one["repeat"] == "pytest --device=cpu -k fednova"
    assert [test["name"] for test in one["tests"]][:2] == ["all arms", "fednova"]
    for test in one["tests"]:
        assert test["mean"] == pytest.approx(-25)
        low, high = test["interval"]
        assert low < -25 < high
        assert low + high == pytest.approx(-50)
        assert (test["seeds"], test["worse"]) == (2, test["p_holm"] <= 0.01)
    assert one["tests"][0]["worse"]
    assert one["tests"][-1]["differences"] == pytest.approx({"0": -25, "1": -25})


def test_spread_over_processes_nothing_is_compared_or_recorded(recorded: Any) -> None:
    recorded.pytester.makeconftest(  # pytest-xdist's option
        "def pytest_addoption(parser): parser.addoption('--numprocesses', type=int)"
    )
    spread = ("-p", "no:xdist", *NOVA, "--numprocesses=2")  # not where the tests themselves run
    result = recorded.run(*spread, "-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=2, skipped=1, deselected=5)
    assert "a baseline is compared with all cells in one process" in recorded.text(result)
    refused = recorded.run(*spread, "--update-baseline")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "--update-baseline needs all cells in one process" in recorded.text(refused)


@pytest.mark.parametrize("value", ["on", ""])
def test_the_option_names_its_choices(suite: Any, value: str) -> None:
    result = suite.run(f"--baseline={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "argument --baseline: invalid choice" in suite.text(result)
