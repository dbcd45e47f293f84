"""The page of a matrix, its residuals, and the command that writes it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedcore.errors import StoreError
from fedcore.harness.reports import files
from fedcore.harness.reports.matrix import matrices
from fedcore.harness.reports.matrix_page import KEPT, residuals, write_page
from tests.harness.reports.test_matrix import NOISE, full


def test_residuals_are_those_of_rows_and_columns() -> None:
    (table,) = matrices(full(), NOISE)
    found = residuals(table)
    assert len(found) == 12
    measured, predicted = found["fedavg", "sign"]
    values = {
        (r["defence"], a): c["poisoned"]["mean"]
        for r in table["rows"]
        for a, c in r["cells"].items()
    }
    row_mean = sum(v for (d, _), v in values.items() if d == "fedavg") / 3
    column_mean = sum(v for (_, a), v in values.items() if a == "sign") / 4
    assert measured == pytest.approx(40)
    assert predicted == pytest.approx(row_mean + column_mean - sum(values.values()) / 12)
    assert sum(m - p for m, p in found.values()) == pytest.approx(0)


def document() -> dict[str, Any]:
    return {
        "schema": files.RESULTS_SCHEMA,
        "date": "2026-01-02T03:04:05+00:00",
        "repeat": "pytest benchmark/test_defences.py",
        "provenance": {"commit": "c0ffee", "machine": "a machine", "data": {"mnist5k": "d1"}},
        "cells": [],
        "matrices": matrices(full(), NOISE),
    }


def test_the_page_says_where_its_numbers_come_from_and_keeps_what_a_hand_wrote(
    tmp_path: Path,
) -> None:
    page = tmp_path / "docs" / "mnist5k.md"
    write_page(document(), page, "the command")
    text = page.read_text()
    for part in ("`the command`", "`pytest benchmark/test_defences.py`", "commit: c0ffee",
                 "data mnist5k: d1", "15 rounds, 4 seeds", "**70.1 ["):  # fmt: skip
        assert part in text
    page.write_text(text + "\nWhy krum holds: it does.\n")
    write_page(document(), page, "another command")
    again = page.read_text()
    assert "another command" in again
    assert again.endswith(f"{KEPT}\n\nWhy krum holds: it does.\n")
    write_page(document(), page, "another command")
    assert page.read_text() == again


def test_results_without_a_matrix_have_no_page(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="hold no matrix"):
        write_page({**document(), "matrices": []}, tmp_path / "page.md", "x")


def test_the_command_writes_the_page_from_a_results_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedcore.cli import main

    (tmp_path / "results.json").write_text(json.dumps(document()))
    page = tmp_path / "page.md"
    assert main(["report", str(tmp_path), "--page", str(page)]) == 0
    assert f"written: {page}" in capsys.readouterr().out
    assert "# Defences against attacks: mnist5k" in page.read_text()
    broken = document()
    del broken["matrices"][0]["rows"][0]["clean"]
    (tmp_path / "results.json").write_text(json.dumps(broken))
    assert main(["report", str(tmp_path), "--page", str(page)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_session_of_cells_alone_has_the_tables_that_it_had(samples: SimpleNamespace) -> None:
    content = files.document(samples.suite(), repeat="x")
    assert content["matrices"] == []
    assert all("place" not in one for one in content["cells"])
