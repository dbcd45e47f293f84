"""A cell without values is not recorded, and keeps no value of another commit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.baselines.baseline_suite import (
    CLEAN,
    NOVA,
    POISONED,
    both,
    file_of,
    shift,
    tamper,
)

pytest_plugins = ["pytester"]


def test_a_cell_without_values_is_not_recorded(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcore.harness.suite.outcome.audit_problems", lambda record: ["planted"])
    before = file_of(recorded).read_text()
    result = recorded.run(*NOVA, "--update-baseline")
    result.assert_outcomes(failed=3, deselected=5)
    assert f"not recorded, they have no values: {CLEAN}, {POISONED}" in recorded.text(result)
    assert file_of(recorded).read_text() == before
    compared = recorded.run(*NOVA)
    compared.assert_outcomes(failed=2, skipped=1, deselected=5)
    assert "2 without values" in recorded.text(compared)


def test_cells_without_values_do_not_keep_those_of_another_commit(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(content: dict[str, Any]) -> None:
        content["source"]["commit"] = "another"

    tamper(recorded, both(shift(3), older))
    before = file_of(recorded).read_text()
    monkeypatch.setattr(
        "fedcore.harness.suite.outcome.audit_problems",
        lambda record: ["planted"] if record.scenario.attack else [],
    )
    result = recorded.run(*NOVA, "--update-baseline")
    assert "a baseline is of one machine and one commit" in recorded.text(result)
    assert "the file stays as it is" in recorded.text(result)
    assert file_of(recorded).read_text() == before
