"""What a comparison with a baseline leaves behind: reruns, JUnit, baseline.json, xdist."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.harness.baselines.baseline_suite import (
    CLEAN,
    ELSEWHERE,
    NOVA,
    POISONED,
    both,
    elsewhere,
    shift,
    tamper,
)

pytest_plugins = ["pytester"]


def test_a_rerun_of_the_failed_comparison_alone_has_the_cells(recorded: Any) -> None:
    tamper(recorded, both(shift(8), elsewhere))
    first = recorded.run(*NOVA, "-p", "cacheprovider")
    assert first.ret == pytest.ExitCode.TESTS_FAILED
    again = recorded.run(*NOVA, "-p", "cacheprovider", "--lf")
    assert again.ret == pytest.ExitCode.TESTS_FAILED
    assert "worse: all arms (2)" in recorded.text(again)


def test_junit_carries_the_comparison(recorded: Any) -> None:
    tamper(recorded, both(shift(8), elsewhere))
    recorded.run(*NOVA, "--junitxml=junit.xml")
    text = (recorded.path / "junit.xml").read_text()
    assert 'name="fedcore.baseline" value="2 changed"' in text
    assert 'name="fedcore.baseline.failure" value="worse: all arms (2), -8.00 pp' in text
    assert 'name="fedcore.baseline.verdict" value="FAIL"' in text
    assert 'name="fedcore.baseline.rule" value="rule: on another machine class' in text
    assert 'name="fedcore.baseline.gate" value="portable"' in text
    assert 'name="fedcore.baseline.all arms" value="-8.0000 pp, worse, n=4 p=' in text
    named = r'name="fedcore.baseline.fednova, iid" value="[^"]* n=4 p=[^"]* after Holm"'
    assert re.search(named, text)
    assert 'name="fedcore.baseline.diverged" value="0 -&gt; 0, p=1"' in text


def test_the_comparison_is_written_beside_the_other_results(recorded: Any) -> None:
    tamper(recorded, both(shift(8), elsewhere))
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
    assert (one["exact"], one["recorded_on"], one["changes"]) == (False, ELSEWHERE, [])
    assert one["gate"] == "portable"
    assert [test["name"] for test in one["tests"]][:2] == ["all arms", "fednova, iid"]
    *shifts, diverged = one["tests"]
    for test in shifts:
        assert (test["size"], test["mean"]) == pytest.approx((-8, -8))
        assert (test["direction"], test["diverged"]) == ("worse", [0, 0])
        assert test["found"] == (test["p_holm"] <= one["alpha"])
        assert test["pairs"] == 2 * test["arms"]
    assert one["tests"][0]["found"]
    assert shifts[-1]["differences"] == pytest.approx({"0": -8, "1": -8})
    assert (diverged["family"], diverged["diverged"], diverged["p"]) == (
        "diverged runs", [0, 0], 1
    )  # fmt: skip


def test_what_is_not_repeated_is_written_arm_by_arm(recorded: Any) -> None:
    tamper(recorded, shift(2, POISONED, seeds="1"))
    recorded.run(*NOVA)
    found = json.loads((recorded.path / ".fedcore" / "baseline.json").read_text())
    assert (found["verdict"], found["exact"]) == ("FAIL", True)
    assert found["rule"].startswith("rule: on the machine class that recorded it")
    (change,) = found["changes"]
    assert (change["arm"], change["seed"], change["round"]) == (POISONED, 1, 1)
    assert change["tail"] == pytest.approx(-2)
    # all arms, FedNova's, each, and the diverged runs: no test is left out
    assert len(found["tests"]) == 5
    assert found["gate"] == "bits"


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
