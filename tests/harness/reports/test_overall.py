from __future__ import annotations

from types import SimpleNamespace

import pytest
from scipy import stats

from fedcore.harness.overall import overall, same_cells
from fedcore.harness.rows import row
from fedcore.harness.summaries import overall_columns, overall_legend


def test_a_strategy_over_its_cells_by_hand(samples: SimpleNamespace) -> None:
    strong = {**samples.LABEL_FLIP, "malicious_fraction": 0.5}
    cells = [
        samples.outcome(poisoned=(90.0, 90.0, 90.0), **samples.LABEL_FLIP),  # drops 3 2 4
        samples.outcome(poisoned=(80.0, 82.0, 84.0), **strong),  # drops 13 10 10
        samples.outcome(),  # clean cells have no drop and do not count
        samples.outcome(clean=(), errors=("broken",), strategy="median", **samples.LABEL_FLIP),
    ]
    (line,) = overall([row(cell) for cell in cells])
    assert (line["strategy"], line["seeds"]) == ("fedavg", [0, 1, 2])
    assert line["cells"] == [cell.cell.id for cell in cells[:2]]
    assert line["clean"]["mean"] == pytest.approx(93)
    assert line["poisoned"]["mean"] == pytest.approx(86)
    assert line["drop"]["mean"] == pytest.approx(7)
    low, high = stats.t.interval(0.9, 2, loc=7, scale=stats.sem([8, 6, 7]))
    assert (line["drop"]["low"], line["drop"]["high"]) == pytest.approx((low, high))
    assert line["drop"]["method"] == "t"


def test_cells_with_more_seeds_count_on_the_ones_that_all_share(samples: SimpleNamespace) -> None:
    few = row(samples.outcome(poisoned=(90.0, 90.0, 90.0), **samples.LABEL_FLIP))
    more = {**few, "seeds": [2, 0, 9]}
    (line,) = overall([few, more])
    assert line["seeds"] == [0, 2]
    # few: drops 3 and 4 on seeds 0 and 2; more: 2 (second value) and 3 (first)
    assert line["drop"]["mean"] == pytest.approx((3 + 4 + 2 + 3) / 4)
    assert overall([few, {**few, "seeds": [7, 8, 9]}]) == []


def test_other_models_are_a_group_of_their_own(samples: SimpleNamespace) -> None:
    lines = overall([row(outcome) for outcome in samples.suite()])
    assert [(line["strategy"], line["note"]) for line in lines] == [
        ("fedavg", ""),
        ("trimmedmean", ""),
        ("fednova", ""),
        ("fednova", "mobilenetv2"),
    ]


def test_strategies_with_other_cells_are_not_to_be_compared(samples: SimpleNamespace) -> None:
    def lines(*strategies: str, **more: object) -> list[dict[str, object]]:
        made = [
            samples.outcome(poisoned=(90.0, 90.0, 90.0), strategy=s, **samples.LABEL_FLIP, **more)
            for s in strategies
        ]
        return overall([row(outcome) for outcome in made])

    same = lines("fedavg", "median")
    assert same_cells(same)
    assert "compare them cell by cell" not in overall_legend(same)
    different = [*lines("fedavg"), *lines("median", **samples.DIRICHLET)]
    assert not same_cells(different)
    assert "compare them cell by cell" in overall_legend(different)


def test_columns(samples: SimpleNamespace) -> None:
    lines = overall([row(samples.outcome(poisoned=(90.0, 90.0, 90.0), **samples.LABEL_FLIP))])
    shown = overall_columns(lines)
    assert shown["drop"] == ["3.0 [1.3, 4.7]"]
    assert (shown["cells"], shown["n"]) == (["1"], ["3"])
    assert "Student's t over seed blocks" in overall_legend(lines)
