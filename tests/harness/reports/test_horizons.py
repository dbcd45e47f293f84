"""What has not converged is marked, and left out of costs and means with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedcore.harness.reports import files as report
from fedcore.harness.reports.costs import cost_rows, costs
from fedcore.harness.reports.costs import left_out as costs_left_out
from fedcore.harness.reports.horizons import SHORTEST, horizons, left_out_text, mark, unsettled
from fedcore.harness.reports.overall import left_out, overall
from fedcore.harness.reports.rows import row
from fedcore.harness.reports.table import columns, footer, terminal_document
from fedcore.harness.statistics.convergence import FEWEST_ROUNDS
from fedcore.harness.statistics.curves import tail_length

STATES = ("FLAT", "RISING", "OPEN", "SHORT")
REASONS = {
    "FLAT": None,
    "RISING": "it still rises",
    "OPEN": "noise hides whether it still rises",
    "SHORT": "its tail is too short for a test of convergence",
}
MARKS = {"FLAT": "", "RISING": "^", "OPEN": "~", "SHORT": "?"}


def attacked(samples: SimpleNamespace, calm: str, struck: str, **more: Any) -> Any:
    arms = {"calm": getattr(samples, calm), "struck": getattr(samples, struck)}
    return samples.outcome(poisoned=(90.0, 90.0, 90.0), **arms, **samples.LABEL_FLIP, **more)


@pytest.mark.parametrize("calm", STATES)
@pytest.mark.parametrize("struck", STATES)
def test_marks_and_reasons_of_both_arms(samples: SimpleNamespace, calm: str, struck: str) -> None:
    cell = row(attacked(samples, calm, struck))
    assert (mark(cell, "clean"), mark(cell, "attacked")) == (MARKS[calm], MARKS[struck])
    shown = columns([cell])
    assert shown["clean"] == [f"93.0{MARKS[calm]}"]
    assert shown["poisoned"] == [f"90.0+-1.4{MARKS[struck]}"]
    # under attack an arm may go up and down for ever: noise alone is no reason
    expected = None
    if calm != "FLAT":
        expected = f"without attack: {REASONS[calm]}"
    elif struck in ("RISING", "SHORT"):
        expected = f"under attack: {REASONS[struck]}"
    assert unsettled(cell) == expected
    assert (overall([cell]) == []) is (expected is not None)
    assert [one["reason"] for one in left_out([cell])] == [expected] * (expected is not None)


def test_a_mean_is_over_the_converged_cells_alone(samples: SimpleNamespace) -> None:
    kept = samples.outcome(poisoned=(90.0, 90.0, 90.0), **samples.LABEL_FLIP)
    strong = {**samples.LABEL_FLIP, "malicious_fraction": 0.5}
    rising = samples.outcome(poisoned=(10.0, 10.0, 10.0), struck=samples.RISING, **strong)
    (line,) = overall([row(kept), row(rising)])
    assert line["cells"] == [kept.cell.id]
    assert line["drop"]["mean"] == pytest.approx(3)
    assert left_out([row(kept), row(rising)]) == [
        {"id": rising.cell.id, "rounds": 15, "reason": "under attack: it still rises"}
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("rises", ["arm", "reference"])
def test_no_cost_is_made_of_an_arm_or_a_reference_that_has_not_converged(
    samples: SimpleNamespace, state: str, rises: str
) -> None:
    progress = getattr(samples, state)
    plain = samples.outcome(calm=progress if rises == "reference" else samples.FLAT)
    skewed = samples.outcome(
        clean=(63.0, 61.0, 65.0),
        calm=progress if rises == "arm" else samples.FLAT,
        **samples.DIRICHLET,
    )
    found, left = cost_rows([plain, skewed]), costs_left_out([plain, skewed])
    if state == "FLAT":
        assert [line["effect"] for line in found] == [30.0]
        assert left == []
        return
    assert found == []
    assert left == [
        {
            "kind": "heterogeneity",
            "arm": "fedavg-dirichlet0.1-clean",
            "id": "fedavg-dirichlet0.1-clean" if rises == "arm" else "fedavg-iid-clean",
            "rounds": 15,
            "reason": REASONS[state],
        }
    ]


def test_the_seeds_that_an_arm_has_most_of_say_whether_it_has_converged(
    samples: SimpleNamespace,
) -> None:
    plain, skewed = samples.outcome(), samples.outcome(**samples.DIRICHLET)
    few = samples.outcome(poisoned=(90.0,) * 3, calm=samples.OPEN, **samples.DIRICHLET,
                          **samples.LABEL_FLIP)  # fmt: skip
    few = replace(few, seeds=(0, 1), clean=few.clean[:2], poisoned=few.poisoned[:2])
    for order in ([plain, skewed, few], [few, skewed, plain]):
        assert len(costs(order, samples.NOISE)) == 1
    assert costs([plain, few], samples.NOISE) == []


def test_what_nobody_noted_is_not_compared(samples: SimpleNamespace) -> None:
    plain, skewed = samples.outcome(), samples.outcome(**samples.DIRICHLET)
    assert costs([plain, replace(skewed, course=None)], samples.NOISE) == []
    cell = row(replace(attacked(samples, "FLAT", "FLAT"), course=None))
    assert overall([cell]) == []
    assert unsettled(cell) == "without attack: whether it has converged was not noted"
    assert mark(cell, "clean") == ""


def test_the_text_counts_names_and_says_the_horizon() -> None:
    left = [{"id": f"arm{i}", "rounds": 10, "reason": "it still rises"} for i in range(5)]
    left += [{"id": "late", "rounds": 40, "reason": "noise hides it"}]
    assert left_out_text(left, "cost") == (
        "Left out: 5 costs at 10 rounds, it still rises (arm0, arm1, arm2 and 2 more); "
        "1 cost at 40 rounds, noise hides it (late)."
    )
    assert left_out_text([], "cost") == ""
    assert horizons([1]) == "at 1 round"
    assert horizons([80, 10, 40, 10]) == "at 10, 40 and 80 rounds"


def test_the_shortest_run_that_can_be_tested() -> None:
    assert SHORTEST == 17
    assert tail_length(17) == FEWEST_ROUNDS > tail_length(16)


def test_every_document_says_what_is_left_out_and_at_which_horizon(
    samples: SimpleNamespace, tmp_path: Path
) -> None:
    outcomes = [
        samples.outcome(),
        samples.outcome(strategy="median", calm=samples.RISING, optimizer="sgd", lr=0.2),
        attacked(samples, "OPEN", "SHORT", **samples.DIRICHLET),
    ]
    texts = [report.summary_table(outcomes)]
    report.write_reports(outcomes, tmp_path, repeat="pytest benchmark")
    for name in ("report.md", "report.html", "results.tex"):
        texts.append((tmp_path / name).read_text())
    for text in texts:
        text = " ".join(text.split())
        assert "Left out: 1 cell at 15 rounds, without attack: noise hides whether" in text
        assert "Left out: 1 cost at 15 rounds, it still rises (median-iid-clean-sgd-lr0.2);" in text
        assert "1 cost at 15 rounds, noise hides whether it still rises (fedavg-dir" in text
    assert "93.0^" in texts[0]
    assert "90.0+-1.4?" in texts[0]
    assert "Not shown to have converged at 15 rounds" in texts[0]
    content = report.read_results(tmp_path)
    assert terminal_document(content) == texts[0]
    assert len(content["left_out"]["costs"]) == 2
    states = [cell["course"]["clean"]["state"] for cell in content["cells"]]
    assert states == ["flat", "rising", "open"]


def test_a_table_of_converged_cells_has_no_legend_of_marks(samples: SimpleNamespace) -> None:
    cells = [row(samples.outcome())]
    assert "converged" not in " ".join(footer(cells))
    del cells[0]["course"]  # of a file that was written before
    assert columns(cells)["clean"] == ["93.0"]
    assert "converged" not in " ".join(footer(cells))
