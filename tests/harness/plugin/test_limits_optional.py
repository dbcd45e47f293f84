"""Limits are optional, and may lie elsewhere: an option, a hook, a file beside the tests."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

WIDE = "[noise]\nsd = 0.2\ndf = 40\n[clean.here]\nmin = 20\nreason = 'learns'\n"
NARROW = WIDE.replace("min = 20", "min = 99.5")
CLEAN = ("-k", "fednova and clean")
HOOK = """
from pathlib import Path
def pytest_fedcore_thresholds(config, folder):
    assert (folder / "test_suite.py").is_file()
    return PLACE
"""


def test_without_limits_cells_are_measured_and_pass_with_that_word(suite: Any) -> None:
    (suite.path / "thresholds.toml").unlink()
    result = suite.run(*CLEAN, "--seeds=1")
    result.assert_outcomes(passed=1)
    assert "no limit" in suite.text(result)
    (cell,) = suite.results()
    assert cell["verdict"] == "no limit"
    assert len(cell["values"]["clean"]) == 1
    assert cell["estimates"]["clean"]["low"] is None  # one seed says nothing about the others
    # two seeds: Student's t of these, nothing is assumed
    suite.run(*CLEAN)
    (cell,) = suite.results()
    values, found = cell["values"]["clean"], cell["estimates"]["clean"]
    reach = 6.313751514675 * abs(values[0] - values[1]) / 2  # t(0.95, 1) s / sqrt(2)
    assert found["high"] - found["mean"] == pytest.approx(reach)


def test_a_cell_without_a_limit_may_still_be_made_to_fail(suite: Any) -> None:
    (suite.path / "thresholds.toml").unlink()
    result = suite.run(*CLEAN, "--fail-on=no-limit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "--fail-on=no-limit -k" in suite.text(result)


def test_a_file_that_limits_other_cells_only_skips_as_before(suite: Any) -> None:
    suite.limits(clean="none = true")
    suite.run(*CLEAN).assert_outcomes(skipped=1)


@pytest.mark.parametrize("content", [WIDE, NARROW], ids=["holds", "does not"])
def test_limits_of_a_file_that_an_option_names(suite: Any, content: str) -> None:
    (suite.path / "mine.toml").write_text(content)
    suite.limits(clean="min = 20" if content == NARROW else "min = 99.5")
    result = suite.run(*CLEAN, "--thresholds=mine.toml")
    assert result.ret == (content == NARROW)
    if content == NARROW:  # what a failure says can be repeated
        assert "pytest --device=cpu --thresholds=mine.toml -k" in suite.text(result)


@pytest.mark.parametrize("place", ["'mine.toml'", "folder / 'mine.toml'"])
def test_limits_of_a_file_that_a_hook_names(suite: Any, place: str) -> None:
    (suite.path / "mine.toml").write_text(NARROW)
    (suite.path / "conftest.py").write_text(HOOK.replace("PLACE", place))
    assert suite.run(*CLEAN).ret == pytest.ExitCode.TESTS_FAILED
    (suite.path / "wide.toml").write_text(WIDE)  # the option goes first
    assert suite.run(*CLEAN, "--thresholds=wide.toml").ret == 0
    (suite.path / "conftest.py").write_text(HOOK.replace("PLACE", "None"))
    assert suite.run(*CLEAN).ret == 0


@pytest.mark.parametrize("by", ["option", "hook"])
def test_a_file_that_is_named_must_be_there(suite: Any, by: str) -> None:
    if by == "hook":
        (suite.path / "conftest.py").write_text(HOOK.replace("PLACE", "'absent.toml'"))
    result = suite.run(*CLEAN, *(["--thresholds=absent.toml"] if by == "option" else []))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = f"ERROR: thresholds {suite.path / 'absent.toml'}: No such file or directory"
    assert suite.text(result).count(told) == 1
    assert "Traceback" not in suite.text(result)
