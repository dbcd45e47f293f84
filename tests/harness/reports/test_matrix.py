from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.reports.matrix import matrices
from fedcore.harness.reports.matrix_csv import matrices_csv
from fedcore.harness.reports.matrix_text import markdown_matrices, terminal_matrices
from fedcore.harness.reports.rows import Row, row
from fedcore.harness.statistics.convergence import Trend, progress
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.course import Course, Exposure
from fedcore.harness.suite.outcome import Outcome
from fedcore.harness.suite.place import Place

NOISE = {"sd": 1.5, "df": 4}
SEEDS = (0, 1, 2, 3)
FLAT, RISING = [Trend(0.0, 0.01)] * 4, [Trend(0.4, 0.01)] * 4
OPEN = [Trend(0.3, 0.5), Trend(-0.2, 0.5), Trend(0.2, 0.5), Trend(0.0, 0.5)]
ATTACKS = {
    "flip": ({"attack": "labelflip", "poison_ratio": 1.0}, "data"),
    "sign": ({"attack": "signflip"}, "own"),
    "door": ({"attack": "backdoor", "poison_ratio": 0.5}, "data"),
}


def spread(mean: float) -> tuple[float, ...]:
    return tuple(mean + shift for shift in (-0.5, 0.5, -0.2, 0.2))


def cell(
    defence: str,
    attack: str | None,
    value: float,
    clean: float = 95.0,
    trends: list[Trend] = FLAT,
    asr: float | None = None,
    struck: list[Trend] = FLAT,
    **more: Any,
) -> Row:
    """The row of a cell whose poisoned accuracy is ``value`` in the mean of four seeds."""
    chain = "bucketing(size=2)" if " + " in defence else ""
    rule = defence.rpartition("+ ")[2]
    changes = {} if attack is None else {**ATTACKS[attack][0], "malicious_fraction": 0.2}
    scenario = Scenario(strategy=rule, preaggregation=chain or None, num_clients=25, **changes)
    knows = "" if attack is None else ATTACKS[attack][1]
    place = Place(defence, attack, 5, chain, "" if attack is None else str(scenario.attack), knows)
    exposure = None if attack is None else Exposure(5, 3, 5.0, 6, 40, 2)
    outcome = Outcome(
        Cell(scenario.id, scenario, 4, place=place),
        SEEDS,
        clean=spread(clean),
        poisoned=() if attack is None else spread(value),
        asr=() if asr is None else spread(asr),
        gates=(),
        errors=more.pop("errors", ()),
        diverged=more.pop("diverged", ()),
        noise=Noise(**NOISE),
        asr_twin=() if asr is None else (1.0, 1.0, 1.0, 1.0),
        course=Course(progress(trends), None if attack is None else progress(struck), exposure),
    )
    return row(outcome)


def full() -> list[Row]:
    """Four defences against three attacks; median and rfa tie in their worst case."""
    values = {
        "fedavg": (95.0, {"flip": 80.0, "sign": 40.0, "door": 94.0}),
        "median": (92.0, {"flip": 85.0, "sign": 70.1, "door": 91.0}),
        "rfa": (93.0, {"flip": 70.0, "sign": 88.0, "door": 92.0}),
        "bucketing + krum": (90.0, {"flip": 82.0, "sign": 84.0, "door": 89.0}),
    }
    rates = {"fedavg": 97.0, "median": 50.0, "rfa": 30.0, "bucketing + krum": 2.0}
    return [
        cell(name, attack, value, clean, asr=rates[name] if attack == "door" else None)
        for name, (clean, attacks) in values.items()
        for attack, value in ({None: 0.0} | attacks).items()
    ]


def by_name(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["defence"]: row for row in table["rows"]}


def test_worst_case_cost_and_ranks_by_hand() -> None:
    (table,) = matrices(full(), NOISE)
    assert table["compared"] == ["flip", "sign", "door"]
    rows = by_name(table)
    worst = {name: (row["worst"]["attacks"], row["worst"]["mean"]) for name, row in rows.items()}
    assert worst == {
        "fedavg": (["sign"], pytest.approx(40.0)),
        "median": (["sign"], pytest.approx(70.1)),
        "rfa": (["flip"], pytest.approx(70.0)),
        "bucketing + krum": (["flip"], pytest.approx(82.0)),
    }
    assert {name: tuple(row["rank"].values()) for name, row in rows.items()} == {
        "fedavg": (4, 4),
        "median": (2, 2),  # the seeds' shifts are alike for all arms: 0.1 points are certain
        "rfa": (3, 3),
        "bucketing + krum": (1, 1),
    }
    costs = {name: row["cost"] and row["cost"]["mean"] for name, row in rows.items()}
    assert costs == {"fedavg": None, "median": 3.0, "rfa": 2.0, "bucketing + krum": 5.0}
    assert rows["median"]["cells"]["sign"]["drop"]["mean"] == pytest.approx(21.9)
    by_flip = {name: row["cells"]["flip"]["rank"]["best"] for name, row in rows.items()}
    assert by_flip == {"median": 1, "bucketing + krum": 2, "fedavg": 3, "rfa": 4}


def test_arms_whose_seeds_go_each_their_own_way_are_a_tie() -> None:
    cells = full()
    for one in cells:
        if one["place"]["defence"] == "rfa" and one["place"]["attack"] == "flip":
            one["values"]["poisoned"] = [72.0, 66.0, 74.0, 68.0]
    rows = by_name(matrices(cells, NOISE)[0])
    ranks = {name: tuple(row["rank"].values()) for name, row in rows.items()}
    assert ranks["median"] == ranks["rfa"] == (2, 3)


def test_backdoors_are_compared_by_what_is_above_the_clean_twin() -> None:
    (table,) = matrices(full(), NOISE)
    rows = by_name(table)
    assert rows["fedavg"]["worst_asr"]["mean"] == pytest.approx(96.0)
    assert rows["fedavg"]["worst_asr"]["attacks"] == ["door"]
    assert rows["fedavg"]["worst_asr"]["low"] < 96 < rows["fedavg"]["worst_asr"]["high"]
    door = next(attack for attack in table["attacks"] if attack["label"] == "door")
    assert door["backdoor"]
    assert door["bites"]
    text = terminal_matrices([table])
    assert "97.0 (1.0)" in text


def test_an_attack_that_does_nothing_to_plain_averaging_is_named() -> None:
    cells = [
        cell("fedavg", None, 0),
        cell("fedavg", "sign", 95.0),
        cell("median", None, 0, 92),
        cell("median", "sign", 60.0, 92),
    ]
    (table,) = matrices(cells, NOISE)
    assert table["attacks"][0]["bites"] is False
    assert "no shown effect, the column proves nothing" in " ".join(
        terminal_matrices([table]).split()
    )


def krum(trends: list[Trend] = FLAT, struck: list[Trend] = FLAT, door: float = 99.0) -> list[Row]:
    """The cells of the best defence of all; ``struck``: its arm under the backdoor."""
    return [
        cell("krum", None, 0.0, 90, trends),
        cell("krum", "flip", 99.0, 90, trends),
        cell("krum", "sign", 99.0, 90, trends),
        cell("krum", "door", door, 90, trends, asr=1.0, struck=struck),
    ]


def test_a_hole_takes_a_row_out_of_the_ranks_and_no_attack_out_of_the_table() -> None:
    cells = [c for c in full() if (c["place"]["defence"], c["place"]["attack"]) != ("rfa", "flip")]
    (table,) = matrices(cells, NOISE)
    rows = by_name(table)
    assert table["compared"] == ["flip", "sign", "door"]
    assert rows["rfa"]["rank"] is None
    assert rows["rfa"]["worst"]["attacks"] == ["sign"]
    assert {name for name, row in rows.items() if row["rank"]} == {*rows} - {"rfa"}
    assert "No rank at 15 rounds: rfa (not every compared attack is measured)." in " ".join(
        terminal_matrices([table]).split()
    )


def test_a_session_stopped_within_a_column_compares_what_is_whole() -> None:
    cells = [c for c in full() if c["place"]["attack"] != "door" or c["place"]["defence"] == "rfa"]
    (table,) = matrices(cells, NOISE)
    assert table["compared"] == ["flip", "sign"]
    assert all(row["rank"] for row in table["rows"])
    assert by_name(table)["rfa"]["worst"]["of"] == 2


def test_cells_with_errors_count_as_missing_and_diverged_ones_are_listed() -> None:
    cells = full()
    cells[1] = cell("fedavg", "flip", 80, errors=("boom",))
    cells[5] = cell("median", "flip", 10.0, 92, diverged=("run in round 3",))
    (table,) = matrices(cells, NOISE)
    assert "flip" not in by_name(table)["fedavg"]["cells"]
    assert "Diverged runs, counted at chance accuracy: median under flip (1)." in (
        markdown_matrices([table])
    )


def test_what_diverged_in_the_control_is_not_the_defences_own() -> None:
    cells, run = full(), ("plain averaging in round 3",)
    cells[1] = cell("fedavg", "flip", 10.0, diverged=run)
    cells[5] = cell("median", "flip", 85.0, 92, diverged=run)
    (table,) = matrices(cells, NOISE)
    text = markdown_matrices([table])
    assert "Diverged runs, counted at chance accuracy: fedavg under flip (1)." in text


def test_declared_and_true_numbers_stand_side_by_side() -> None:
    (table,) = matrices(full(), NOISE)
    text = " ".join(terminal_matrices([table]).split())
    assert "told f = 5, the expected number of malicious clients in a cohort" in text
    assert "there were 3 to 6 (mean 5.00), more than f in 24 of 480 rounds" in text


def test_each_partition_and_data_set_has_a_table() -> None:
    skewed = [c | {"labels": c["labels"] | {"partition": "dirichlet0.3"}} for c in full()]
    assert [t["partition"] for t in matrices(full() + skewed, NOISE)] == ["iid", "dirichlet0.3"]
    assert matrices([], None) == []
    assert matrices([{k: v for k, v in full()[0].items() if k != "place"}], NOISE) == []


def test_a_single_seed_has_no_ranks() -> None:
    cells = full()
    for one in cells:
        one["seeds"], one["asr_twin"] = [0], one["asr_twin"][:1]
        one["values"] = {name: values[:1] for name, values in one["values"].items()}
    (table,) = matrices(cells, NOISE)
    assert {row["unranked"] for row in table["rows"]} == {"a single seed"}
    assert terminal_matrices([table])


def test_the_terminal_stays_within_the_width_and_loses_no_column() -> None:
    (table,) = matrices(full(), NOISE)
    many = [f"attack{number}" for number in range(14)]
    for one in table["rows"]:
        one["cells"] |= dict.fromkeys(many, one["cells"]["flip"])
    table["attacks"] += [{**table["attacks"][0], "label": label} for label in many]
    lines = terminal_matrices([table]).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(any(label in line.split() for line in lines) for label in many)


def test_the_csv_has_a_line_for_each_attacked_cell() -> None:
    lines = list(csv.DictReader(io.StringIO(matrices_csv(matrices(full(), NOISE)))))
    assert len(lines) == 12
    one = next(x for x in lines if (x["defence"], x["attack"]) == ("median", "sign"))
    assert float(one["poisoned_mean"]) == pytest.approx(70.1)
    assert (one["worst_attack"], one["rank"], one["attack_rank"]) == ("sign", "2", "3")
    assert (one["knows"], one["malicious_declared"], one["malicious_above"]) == ("own", "5", "2")


def test_omniscience_shows_in_the_heads_and_in_the_legend() -> None:
    (table,) = matrices(full(), NOISE)
    table["attacks"][1]["knows"] = "omniscient"
    for text in (terminal_matrices([table]), markdown_matrices([table])):
        assert "sign*" in text or r"sign\*" in text
        assert "omniscient" in text
