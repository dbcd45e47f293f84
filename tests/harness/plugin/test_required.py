"""A requirement of the command line or of a file decides over cells of a real session."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

CELL = ("-k", "fednova and labelflip")


def test_what_is_required_fails_a_cell_that_its_limits_let_pass(suite: Any) -> None:
    suite.limits(drop="max = 60")
    suite.run(*CELL).assert_outcomes(passed=1)
    result = suite.run(*CELL, "--require=retention >= 99.9 where strategy = fednova")
    result.assert_outcomes(failed=1)
    text = suite.text(result)
    assert "ret>=99.9" in text
    assert "poisoned / clean tail accuracy" in text
    assert "required with 95 % confidence" in text
    assert "'--require=retention >= 99.9 where strategy = fednova'" in text  # to repeat it
    (cell,) = suite.results()
    gate = next(g for g in cell["gates"] if g["metric"] == "retention")
    assert gate["estimate"]["mean"] == pytest.approx(100 * cell["retention"])  # as the table has it
    suite.run(*CELL, "--require=poisoned >= 1").assert_outcomes(passed=1)


def test_without_a_file_the_undefended_control_has_to_suffer(suite: Any) -> None:
    """What holds where the attack does nothing proves nothing."""
    (suite.path / "thresholds.toml").unlink()
    result = suite.run(*CELL, "--require=poisoned >= 1", "--seeds=4", "--poison-ratio=0.02")
    result.assert_outcomes(skipped=1)
    (cell,) = suite.results()
    verdicts = {gate["threshold"]: gate["verdict"] for gate in cell["gates"]}
    assert verdicts["require poisoned >= 1"] == "pass"
    assert verdicts["control.required"] == cell["verdict"] == "unsure"


def test_one_that_no_cell_is_asked_ends_with_status_4_or_is_named(suite: Any) -> None:
    result = suite.run(*CELL, "--require=clean >= 90")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--require clean >= 90: none of the selected cells fits" in suite.text(result)
    path = suite.path / "thresholds.toml"
    path.write_text(path.read_text() + '[require]\nclean-level = "clean >= 10"\n')
    result = suite.run(*CELL)
    result.assert_outcomes(passed=1)
    assert "require.clean-level: none of the selected cells fits" in suite.text(result)


def test_a_line_that_breaks_a_rule_ends_with_status_4(suite: Any) -> None:
    result = suite.run(*CELL, "--require=poisoned > 3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "must read METRIC >= NUMBER" in suite.text(result)
