"""Standings of a session: ranks, worst cases and profiles over what has converged, by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main
from fedcore.harness.comparisons.from_results import side_of_results
from fedcore.harness.comparisons.standings import standings
from fedcore.harness.comparisons.standings_section import standing_sections
from fedcore.harness.reports.files import document
from tests.harness.comparisons.sessions import compared, outcome, scenarios, session, stored

FLAT = {"mean": 0.0, "low": -0.1, "high": 0.1, "confidence": 0.9, "state": "flat"}
FLIP, TARGETED = "iid labelflip mal30pct poison100pct", "iid targetedflip1to7 mal50pct poison100pct"


def converged(content: dict[str, Any], **states: str | None) -> dict[str, Any]:
    """``content`` with arms that have converged; those of the strategies in ``states`` otherwise.

    A state is of the attacked arms.
    """
    content = copy.deepcopy(content)
    for cell in content["cells"]:
        state = states.get(cell["labels"]["strategy"], "flat")
        attacked = None if state is None else {**FLAT, "state": state}
        cell["course"] = {"clean": FLAT, "attacked": attacked, "exposure": None}
    return content


def of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return standings(side_of_results(content, "x", "x"))


def test_a_table_by_hand() -> None:
    (table,) = of(converged(session()))
    assert (table["scope"], table["rounds"], table["seeds"]) == ("iid", [10], [0, 1, 2])
    assert table["cells"] == [FLIP, TARGETED]
    assert (table["left_out"], table["absent"], table["setting"]) == ([], [], {})
    rows = {row["arm"]: row for row in table["rows"]}
    # every seed has the same order and distances: no doubt about any rank
    assert [row["arm"] for row in table["rows"]] == ["fedavg", "fednova", "median", "krum"]
    for place, arm in enumerate(rows):
        row = rows[arm]
        assert row["rank"] == row["worst_rank"] == {"best": place + 1, "worst": place + 1}
        assert row["mean"] == pytest.approx(90 - 12 - 2 * place + 0.25)
        assert row["worst"]["mean"] == pytest.approx(90 - 16 - 2 * place + 0.25)
        assert row["worst"]["cells"] == [TARGETED]
        assert row["gaps"] == pytest.approx([2.0 * place] * 2)
    # within 0, 1, 2, 5 and 10 points of the best
    assert rows["fednova"]["share"] == [0, 0, 1, 1, 1]
    assert rows["krum"]["share"] == [0, 0, 0, 0, 1]


def test_arms_that_have_not_converged_are_left_out_and_named() -> None:
    (table,) = of(converged(session(), median="rising", krum=None))
    assert [row["arm"] for row in table["rows"]] == ["fedavg", "fednova"]
    assert table["absent"] == ["median", "krum"]
    reasons = {one["id"].split("-")[0]: one["reason"] for one in table["left_out"]}
    assert reasons["median"] == "under attack: it still rises"
    assert reasons["krum"].startswith("under attack: its tail is too short")
    assert len(table["left_out"]) == 4
    text = standing_sections([table])[0].text()
    assert "Not measured or not converged in every cell: median, krum." in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    # attacked arms may go up and down for ever
    (table,) = of(converged(session(), median="open"))
    assert len(table["rows"]) == 4
    # nothing is ranked of a session that does not say
    assert of(session()) == []
    assert of(converged(session(), fedavg="rising", median="rising", krum="rising")) == []


def test_a_single_seed_has_no_ranks() -> None:
    (table,) = of(converged(session(seeds=(0,))))
    assert {row["rank"] for row in table["rows"]} == {None}
    assert {row["share_low"] for row in table["rows"]} == {None}
    assert "a single seed" in standing_sections([table])[0].legend


def test_holes_and_other_settings() -> None:
    content = converged(session())
    gone = content["cells"].pop(-1)  # Krum under the targeted flip
    (table,) = of(content)
    assert gone["id"].startswith("krum")
    # three strategies under two attacks are more than four under one
    assert (len(table["rows"]), len(table["cells"]), table["absent"]) == (3, 2, ["krum"])
    content = converged(session())
    for cell in content["cells"]:
        cell["scenario"]["num_clients"] = 10 if cell["labels"]["strategy"] < "krum" else 20
    tables = of(content)
    assert [(t["setting"], len(t["rows"])) for t in tables] == [
        ({"num_clients": 10}, 2),
        ({"num_clients": 20}, 2),
    ]


def test_they_are_in_the_comparison_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = compared(tmp_path, converged(session()), converged(session(), krum="rising"))
    assert [len(content["standings"][x][0]["rows"]) for x in "ab"] == [4, 3]
    whole = document([outcome(scenario, (0, 1)) for scenario in scenarios()], repeat="pytest x")
    folder = stored(tmp_path / "r", converged(whole))
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "standing over 2 cells of iid at 10 rounds:" in out
    page = (folder / "report.md").read_text()
    assert "## Standing over 2 cells of iid at 10 rounds" in page
    assert "figures/profiles.png" in page
    assert (folder / "figures" / "profiles.png").stat().st_size > 1000
    assert "Standing over 2 cells" in (folder / "report.html").read_text()
