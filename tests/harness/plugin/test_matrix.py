"""A session with a matrix of defences, on tiny data: tables, files, store, and what is asked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

pytest_plugins = ["pytester"]

MATRIX = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.matrix import Column, Matrix, Row

def cells(options):
    base = Scenario(
        dataset="synthetic:300", model="mlp", num_clients=5, fraction_train=1.0, rounds=20,
        optimizer="sgd", lr=1.0, eval_every=1,
    )
    rows = [Row("fedavg"), Row("median"), Row("median", "bucketing(size=2)"), Row("unknown")]
    columns = [
        Column("sign", {"attack": "signflip(stretch=4)"}),
        Column("door", {"attack": "backdoor", "poison_ratio": 0.5}),
        Column("noop", {"attack": "scaled(gamma=1.0001)"}),
    ]
    chosen = columns[2:] if options.profile == "full" else columns[:2]
    yield from Matrix(
        base, rows, chosen, [{"partition": "iid"}], 0.2,
        options.seeds or 2, overrides=options.overrides, note=options.note,
    ).cells()

@pytest.mark.cells(function=cells)
def test_defences(outcome):
    outcome.check()
"""


@pytest.fixture
def matrix(suite: Any) -> Any:
    (suite.path / "test_suite.py").unlink()
    suite.pytester.makepyfile(test_defences=MATRIX)
    # a limit that no cell holds: none is asked of a matrix
    suite.limits(clean="min = 99.8", drop="max = -90")
    return suite


def test_a_session_measures_prints_and_writes_the_matrix(matrix: Any) -> None:
    result = matrix.run("--report=out")
    result.assert_outcomes(passed=9)
    assert result.ret == 0
    text = matrix.text(result)
    assert "the matrix leaves out what is not registered: unknown" in text
    assert "defences x attacks, synthetic:300, iid, mlp: 5 clients, 20 rounds, 2 seeds" in text
    assert "told f = 1, the expected number" in " ".join(text.split())
    assert "9 cells: 9 measured" in text
    table = next(line for line in text.splitlines() if re.match(r"defence +clean", line))
    assert table.split() == ["defence", "clean", "cost", "sign", "door", "worst", "rank"]
    # the table of single cells has no line for these
    assert "mal/poi" not in text
    content = json.loads((matrix.path / "out/results.json").read_text())
    (found,) = content["matrices"]
    assert [row["defence"] for row in found["rows"]] == ["fedavg", "median", "bucketing + median"]
    assert found["exposure"] == {
        "declared": 1, "least": 1, "mean": 1.0, "most": 1, "rounds": 240, "above": 0,
    }  # fmt: skip
    assert {cell["verdict"] for cell in content["cells"]} == {"measured"}
    assert content["overall"] == content["costs"] == []
    door = found["rows"][0]["cells"]["door"]
    assert door["asr"]["mean"] != door["asr_twin"]["mean"]
    lines = (matrix.path / "out/matrix.csv").read_text().splitlines()
    assert len(lines) == 1 + 6
    report = (matrix.path / "out/report.md").read_text()
    assert "## Defences against attacks" in report
    assert "What does not hold" not in report
    assert "bucketing + median" in report

    again = matrix.run()
    assert matrix.effort(again) == (matrix.effort(result)[1], 0)


def test_an_attack_without_an_effect_on_plain_averaging_skips_there_and_passes_elsewhere(
    matrix: Any,
) -> None:
    result = matrix.run("--profile=full", "-k", "scaled", "-rs")
    outcomes = result.parseoutcomes()
    assert outcomes["skipped"] == 1
    assert outcomes["passed"] == 2
    assert "the attack has no shown effect here" in " ".join(matrix.text(result).split())


def test_hours_end_a_session_whose_runs_a_later_one_finds(matrix: Any) -> None:
    result = matrix.run("--hours=0.0000001", "-rs")
    assert result.ret == 0
    result.assert_outcomes(skipped=9)
    assert "the 1e-07 hours of --hours are over" in matrix.text(result)
    first = matrix.run("-k", "clean")
    first.assert_outcomes(passed=3, deselected=6)
    # what is stored takes no time
    later = matrix.run("--hours=0.0000001")
    later.assert_outcomes(passed=3, skipped=6)
    assert "defences x attacks" in matrix.text(later)


def test_hours_must_be_more_than_none(matrix: Any) -> None:
    result = matrix.run("--hours=0")
    assert result.ret == 4
    assert "--hours must be > 0, got 0.0" in matrix.text(result)


def test_a_matrix_is_no_part_of_a_baseline(matrix: Any) -> None:
    result = matrix.run("--update-baseline")
    assert result.ret == 4
    assert "no cell is selected, so nothing to record" in matrix.text(result)


def test_a_run_that_fails_fails_its_cell(matrix: Any) -> None:
    matrix.run("-k", "median-iid-clean")
    for record in matrix.records():
        values = json.loads(record.read_text())
        assert values["schema"] == 2
    text = (matrix.path / "test_defences.py").read_text()
    broken = text.replace('"median")', '"median(num_byzantine=1)")')
    (matrix.path / "test_defences.py").write_text(broken)
    result = matrix.run()
    assert result.ret == 4  # misspelt: refused before any run
    assert "num_byzantine" in matrix.text(result)
