"""A session at two horizons: marks, what is left out, curves of the records, limits of one only."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

def cells(options):
    base = Scenario(
        dataset="synthetic:600", model="mlp", num_clients=4, fraction_train=1.0, rounds=2,
        optimizer="sgd", lr=1.0,
    )
    strategies = [{"strategy": s} for s in ("fedavg", "median")]
    yield from Grid(
        base, strategies, [{"partition": "iid"}], [{"attack": "labelflip"}], [0.25], [1.0], 2,
        overrides=options.overrides,
    ).cells()

@pytest.mark.cells(function=cells)
def test_robustness(outcome):
    outcome.check()
"""
LIMITS = """
[noise]
sd = 0.2
df = 40
[drop.recorded]
max = 20
reason = "recorded"
where = { rounds = 2 }
[control.bites]
min = 0.1
reason = "the attack bites"
"""


@pytest.fixture
def two(suite: Any) -> Any:
    suite.pytester.makepyfile(test_suite=SUITE)
    (suite.path / "thresholds.toml").write_text(LIMITS)
    return suite


def lines(suite: Any, result: pytest.RunResult) -> tuple[str, list[list[str]]]:
    """All that stands below the heading, and the lines of the table of cells."""
    text = suite.text(result)
    return " ".join(text.split()), [
        line.split() for line in text.splitlines() if line.startswith(("fedavg ", "median "))
    ]


def test_a_short_session_compares_nothing(two: Any) -> None:
    text, table = lines(two, two.run("--report=short", "--baseline=off"))
    assert len(table) == 4
    assert all(line[4].endswith("?") for line in table)
    assert "Left out: 2 cells at 2 rounds, without attack: its tail is too short" in text
    assert "Left out: 1 cost at 2 rounds, its tail is too short" in text
    content = json.loads((two.path / "short/results.json").read_text())
    assert content["costs"] == content["overall"] == []
    assert {gate["threshold"] for cell in content["cells"] for gate in cell["gates"]} == {
        "drop.recorded", "control.bites", "twin_skill.learned",
    }  # fmt: skip


def test_a_long_session_compares_what_has_converged(two: Any) -> None:
    text, table = lines(two, two.run("--rounds=30", "--report=long", "--baseline=off"))
    content = json.loads((two.path / "long/results.json").read_text())
    states = {cell["id"]: cell["course"]["clean"]["state"] for cell in content["cells"]}
    assert {*states.values()} == {"flat"}  # 30 rounds are enough for these data
    assert not any(line[4].endswith(("?", "~", "^")) for line in table)
    (cost,) = content["costs"]
    assert (cost["kind"], cost["strategy"], cost["rounds"]) == ("defence", "median", 30)
    assert {line["strategy"] for line in content["overall"]} == {"fedavg", "median"}
    assert "Left out" not in text
    assert text.count("at 30 rounds") >= 3  # of the cells, the means and the costs
    # what was recorded at 2 rounds is no limit here
    attacked = [cell for cell in content["cells"] if cell["values"]["drop"]]
    assert [cell["verdict"] for cell in attacked] == ["no limit"] * 2
    reason = "drop.recorded (<=20) was recorded at 2 rounds, and is no limit at 30"
    assert [cell["unlimited"] for cell in attacked] == [[reason]] * 2

    # the curves are those of the records, round by round
    records = [json.loads(path.read_text()) for path in two.records()]
    cell = next(c for c in attacked if c["scenario"]["strategy"] == "median")
    for arm, attack in (("clean", None), ("attacked", "labelflip")):
        wanted = ("median", attack)
        runs = [
            r for r in records if (r["scenario"]["strategy"], r["scenario"]["attack"]) == wanted
        ]
        assert len(runs) == 2
        assert cell["curves"]["rounds"] == runs[0]["rounds"] == list(range(1, 31))
        means = [50 * math.fsum(pair) for pair in zip(*(r["accuracy"] for r in runs), strict=True)]
        assert cell["curves"][arm]["mean"] == pytest.approx(means, abs=1e-4)
        areas = sorted(100 * math.fsum(r["accuracy"]) / 30 for r in runs)
        assert sorted(cell["curves"][arm]["area"]) == pytest.approx(areas)
