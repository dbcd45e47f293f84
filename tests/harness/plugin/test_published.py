"""Cells beside published values, through a real pytest."""

from __future__ import annotations

import csv
from typing import Any

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.published import Published

def cells(options):
    if options.profile != "study":
        return
    base = Scenario(
        dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=2, lr=0.1
    )
    attack = dict(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
    near, far = (Published(value, 1, 40.0, 1.0, "a study", "its runs") for value in (60.0, 60.0))
    yield Cell("near", base, 2, published=near)
    yield Cell("far", base, 2, published=Published(1.0, 1, 1.0, 1.0, "a study", "its runs"))
    yield Cell("other", base, 2, published=far, reported="2 rounds instead of 100")
    yield Cell("unknown", base.but(**attack), 2, reported="the study printed no value")

@pytest.mark.cells(function=cells)
def test_study(outcome):
    outcome.check()
"""


def test_judged_reported_and_unknown(suite: Any) -> None:
    suite.pytester.makepyfile(test_suite=SUITE)
    result = suite.run("--profile=study", "--report=r", "-rs")
    result.assert_outcomes(passed=1, failed=1, skipped=2)
    cells = {cell["id"]: cell for cell in suite.results("r")}
    assert {name: cell["verdict"] for name, cell in cells.items()} == {
        "near": "pass",
        "far": "FAIL",
        "other": "no limit",
        "unknown": "no limit",
    }
    far, other, unknown = (cells[name]["published"] for name in ("far", "other", "unknown"))
    mean = cells["far"]["estimates"]["clean"]["mean"]
    assert far["difference"] == pytest.approx(mean - 1)
    assert far["tolerance"] == pytest.approx((1 + 1 / 2) ** 0.5)
    assert (other["value"], other["reported"]) == (60, "2 rounds instead of 100")
    assert (unknown["value"], unknown["difference"]) == (None, None)
    shown = suite.text(result)
    assert "reported, not judged against what was published: 2 rounds instead of 100" in shown
    assert "threshold published.value: 1 in a study, runs: 1; 1 x 1 x sqrt(1/1 + 1/2)" in shown
    head = next(line for line in suite.table(result) if line.startswith("strategy"))
    assert "published" in head
    with (suite.path / "r" / "results.csv").open(newline="") as file:
        lines = {line["id"]: line for line in csv.DictReader(file)}
    assert float(lines["near"]["published_value"]) == 60
    assert lines["other"]["published_reported"] == "2 rounds instead of 100"


def test_a_profile_without_cells_says_so(suite: Any) -> None:
    suite.pytester.makepyfile(test_suite=SUITE)
    result = suite.run("--profile=smoke", "-rs")
    result.assert_outcomes(skipped=1)
    assert "profile smoke has no cells here" in suite.text(result)
    assert result.ret == pytest.ExitCode.OK
