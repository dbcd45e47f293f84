from __future__ import annotations

from types import SimpleNamespace

import pytest
from scipy import stats

from fedcore.harness.reports.overall import overall, same_cells
from fedcore.harness.reports.rows import row
from fedcore.harness.reports.summaries import overall_columns, overall_legend


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
    more = {**few, "hash": "another scenario's", "seeds": [2, 0, 9]}
    (line,) = overall([few, more])
    assert line["seeds"] == [0, 2]
    # few: drops 3 and 4 on seeds 0 and 2; more: 2 (second value) and 3 (first)
    assert line["drop"]["mean"] == pytest.approx((3 + 4 + 2 + 3) / 4)
    assert overall([few, {**more, "seeds": [7, 8, 9]}]) == []


def test_a_scenario_counts_once_on_most_seeds(samples: SimpleNamespace) -> None:
    """As where two files judge it: by hand, drops 3 2 4, and 13 12 14 of another share."""
    few = row(samples.outcome(poisoned=(90.0, 90.0, 90.0), **samples.LABEL_FLIP))
    values = {name: [*few["values"][name], 50.0] for name in ("clean", "poisoned")}
    more = {**few, "seeds": [0, 1, 2, 3], "values": {**values, "drop": [3.0, 2.0, 4.0, 0.0]}}
    strong = {**samples.LABEL_FLIP, "malicious_fraction": 0.5}
    other = row(samples.outcome(poisoned=(80.0, 80.0, 80.0), **strong))
    for cells in ([few, more, other], [more, few, other], [few, few, other]):
        (line,) = overall(cells)
        assert len(line["cells"]) == 2
        assert line["drop"]["mean"] == pytest.approx(8)


def test_no_mean_is_over_scenarios_that_differ_beyond_partition_and_attack(
    samples: SimpleNamespace,
) -> None:
    """IID with 4 clients and Dirichlet with 20: the ids are not equal, and tell nothing of it."""
    cells = [
        samples.outcome(poisoned=(90.0, 90.0, 90.0), num_clients=4, **samples.LABEL_FLIP),
        samples.outcome(poisoned=(80.0, 80.0, 80.0), **samples.DIRICHLET, **samples.LABEL_FLIP),
    ]
    rows = [row(cell) for cell in cells]
    for one in rows:
        one["labels"]["note"] = ""
    lines = overall(rows)
    assert [(line["note"], line["drop"]["mean"]) for line in lines] == [
        ("clients4", pytest.approx(3)),
        ("clients20", pytest.approx(13)),
    ]
    assert [line["setting"]["num_clients"] for line in lines] == [4, 20]
    assert "share all but partition and attack" in overall_legend(lines)


def test_strategies_of_other_federations_are_not_to_be_compared(samples: SimpleNamespace) -> None:
    def line(strategy: str, **more: object) -> dict[str, object]:
        made = samples.outcome(
            poisoned=(90.0, 90.0, 90.0), strategy=strategy, **samples.LABEL_FLIP, **more
        )
        one = row(made)
        one["labels"]["note"] = ""
        one["id"] = f"{strategy}-iid-labelflip-mal30pct-poison50pct"
        return overall([one])[0]

    assert same_cells([line("fedavg"), line("median", lr=0.3, optimizer="sgd")])
    assert not same_cells([line("fedavg"), line("median", num_clients=10)])
    old = [line("fedavg"), line("median")]
    for one in old:
        del one["setting"]  # as written at db446b2
    assert same_cells(old)


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
