from __future__ import annotations

import re
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.errors import ScenarioError
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.matrix import Column, Matrix, Row, knowledge

BASE = Scenario(dataset="synthetic:1000", model="mlp", num_clients=25, fraction_train=1.0, rounds=2)
IID = {"partition": "iid"}
SKEWED = {"partition": "dirichlet", "alpha": 0.3}
FLIP = Column("flip", {"attack": "labelflip", "poison_ratio": 1.0})
SIGN = Column("sign", {"attack": "signflip"})
DOOR = Column("door", {"attack": "backdoor", "poison_ratio": 0.5})


def matrix(rows: list[Row], columns: list[Column], **changes: Any) -> list[Cell]:
    given = {"base": BASE, "partitions": [IID], "malicious_fraction": 0.2, "seeds": 2, **changes}
    return list(Matrix(rows=rows, columns=columns, **given).cells())


def test_every_rule_is_told_the_expected_number_by_its_own_parameter() -> None:
    rows = [Row("fedavg"), Row("krum"), Row("trimmedmean"), Row("trimmedmean", "bucketing")]
    arms = [cell.scenario for cell in matrix(rows, [])]
    assert [arm.num_byzantine for arm in arms] == [None, 5, None, None]
    # of 25 clients, and of the 13 rows that buckets of two leave: f is not scaled
    assert [arm.trim_fraction for arm in arms] == [None, None, 5 / 25, 5 / 13]
    assert [arm.parts.strategy.trimmed(arm.rows) for arm in arms[2:]] == [5, 5]
    assert {cell.place.declared for cell in matrix(rows, [FLIP])} == {5}


@pytest.mark.parametrize(
    ("fraction", "cohort", "declared"), [(0.2, 1.0, 5), (0.1, 1.0, 3), (0.2, 0.5, 3), (0.0, 1.0, 0)]
)
def test_f_is_the_expected_number_in_a_cohort_halves_up(
    fraction: float, cohort: float, declared: int
) -> None:
    made = Matrix(BASE.but(fraction_train=cohort), [], [], [IID], fraction, 2)
    assert made.declared() == declared


def test_what_a_row_says_itself_stays_and_the_table_shows_it() -> None:
    told, own = matrix([Row("krum(num_byzantine=3)"), Row("krum", label="plain")], [])
    assert (told.scenario.num_byzantine, own.scenario.num_byzantine) == (3, 5)
    assert (told.place.defence, own.place.defence) == ("krum(num_byzantine=3)", "plain")


def test_a_step_of_the_chain_is_told_too() -> None:
    from fedcore.components.parameters import param
    from fedcore.strategies.preaggregation.preaggregation import PREAGGREGATIONS, PreAggregation

    class Told(PreAggregation):
        num_byzantine: int | None = param("f", default=None)

        def mix(self, updates: Any, cohort: Any, generator: Any) -> Any:
            return updates, cohort

    PREAGGREGATIONS.register("toldone", "for this test")(Told)
    try:
        (cell,) = matrix([Row("median", "bucketing(size=3), toldone")], [])
    finally:
        PREAGGREGATIONS._entries.pop("toldone")
    assert cell.scenario.preaggregation == "bucketing(size=3), toldone(num_byzantine=5)"
    assert cell.place.defence == "bucketing + toldone + median"


def test_the_cells_come_in_growing_squares_and_each_row_with_its_clean_cell() -> None:
    rows = [Row(name) for name in ("fedavg", "median", "krum", "rfa")]
    places = [(c.place.defence, c.place.attack) for c in matrix(rows, [FLIP, SIGN])]
    assert len(places) == 12
    # half of the rows with half of the columns is whole before anything else begins
    assert set(places[:4]) == {
        (defence, attack) for defence in ("fedavg", "median") for attack in (None, "flip")
    }
    for defence, attack in places:
        if attack is not None:
            assert places.index((defence, None)) < places.index((defence, attack))


@pytest.mark.parametrize("stop", range(1, 13))
def test_a_session_that_is_stopped_has_no_hole_in_what_it_has_finished(stop: int) -> None:
    rows = [Row(name) for name in ("fedavg", "median", "krum", "rfa")]
    done = [(c.place.defence, c.place.attack) for c in matrix(rows, [FLIP, SIGN])][:stop]
    defences = list(dict.fromkeys(defence for defence, _ in done))
    for attack in ("flip", "sign"):
        having = [defence for defence in defences if (defence, attack) in done]
        assert having == defences[: len(having)]


def test_a_cross_has_every_row_and_every_column_once() -> None:
    rows = [Row(name) for name in ("fedavg", "median", "krum")]
    places = {(c.place.defence, c.place.attack) for c in matrix(rows, [FLIP, SIGN], cross=True)}
    clean = {(row.strategy, None) for row in rows}
    assert places == clean | {(row.strategy, "flip") for row in rows} | {("fedavg", "sign")}


def test_the_control_is_plain_averaging_under_the_same_attack() -> None:
    for cell in matrix([Row("krum"), Row("median", "bucketing")], [FLIP, DOOR]):
        if cell.place.attack is None:
            assert cell.control is None
            continue
        assert cell.control.strategy == "fedavg"
        assert cell.control.preaggregation is None
        assert cell.control.attack == cell.scenario.attack
        assert cell.control.malicious_fraction == cell.scenario.malicious_fraction == 0.2
        assert cell.control.poison_ratio == cell.scenario.poison_ratio


def test_knowledge_and_setting_stand_in_the_place() -> None:
    replace = Column("replace", {"attack": "scaled(of=backdoor(poison_ratio=0.5), gamma=3)"})
    cells = {c.place.attack: c.place for c in matrix([Row("fedavg")], [FLIP, SIGN, replace])}
    assert {name: place.knows for name, place in cells.items() if name} == {
        "flip": "data",
        "sign": "own",
        "replace": "own",
    }
    assert cells["flip"].setting == "labelflip(poison_ratio=1.0)"
    assert "gamma=3" in cells["replace"].setting
    assert "backdoor(poison_ratio=0.5" in cells["replace"].setting


def test_omniscient_attackers_are_told_apart() -> None:
    from fedcore.attacks.attack import Seen, UpdateAttack

    class Seeing(UpdateAttack):
        knows = "benign"

        def craft(self, seen: Seen) -> Any:
            return seen.own

    assert knowledge(Seeing()) == "omniscient"


def test_what_is_not_registered_is_left_out_with_one_note() -> None:
    notes: list[str] = []
    rows = [Row("fedavg"), Row("nosuchrule"), Row("median", "nosuchstep")]
    columns = [FLIP, Column("x", {"attack": "scaled(of=nosuchattack)"})]
    cells = matrix(rows, columns, note=notes.append)
    assert {(c.place.defence, c.place.attack) for c in cells} == {
        ("fedavg", None),
        ("fedavg", "flip"),
    }
    assert notes == [
        "the matrix leaves out what is not registered: nosuchrule, nosuchstep, nosuchattack"
    ]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (Row("krum(num_byzantin=3)"), FLIP),
        (Row("median", "bucketing(sise=3)"), FLIP),
        (Row("fedavg"), Column("x", {"attack": "signflip(strech=2)"})),
        (Row("fedavg"), Column("x", {"attack": "scaled(of=backdoor(tagret=1))"})),
        (Row("krum(num_byzantine=-1)"), FLIP),
    ],
)
def test_a_misspelt_parameter_is_an_error_and_no_reason_to_leave_out(
    row: Row, column: Column
) -> None:
    notes: list[str] = []
    with pytest.raises(ScenarioError):
        matrix([row], [column], note=notes.append)


def test_a_rule_whose_precondition_fails_is_left_out_with_the_formula_once() -> None:
    notes: list[str] = []
    rows = [Row("bulyan"), Row("bulyan", "bucketing")]
    cells = matrix(rows, [FLIP, SIGN], note=notes.append)
    assert {cell.place.defence for cell in cells} == {"bulyan"}
    assert len(notes) == 1
    assert "bucketing + bulyan: strategy 'bulyan' needs a cohort >= 4 f + 3" in notes[0]


def test_what_a_user_sets_takes_the_place_of_the_matrix_own() -> None:
    overrides = {"malicious_fraction": 0.4, "poison_ratio": 0.5, "alpha": 0.7, "rounds": 3}
    for cell in matrix([Row("krum")], [FLIP, SIGN], partitions=[IID, SKEWED], overrides=overrides):
        scenario = cell.scenario
        assert scenario.rounds == 3
        assert scenario.alpha in (None, 0.7)
        assert scenario.num_byzantine == cell.place.declared == 10
        if cell.place.attack == "flip":
            assert (scenario.malicious_fraction, scenario.poison_ratio) == (0.4, 0.5)
        if cell.place.attack == "sign":
            assert scenario.poison_ratio == 0.0


def test_ids_are_distinct_and_of_the_characters_of_ids() -> None:
    rows = [Row("median"), Row("median", "bucketing"), Row("median", "bucketing(size=3)")]
    ids = [cell.id for cell in matrix(rows, [FLIP, DOOR], partitions=[IID, SKEWED])]
    assert len(set(ids)) == len(ids) == 18
    assert all(re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", name) for name in ids)


def test_scenarios_that_are_equal_are_one_cell() -> None:
    assert len(matrix([Row("krum"), Row("krum(num_byzantine=5)")], [FLIP])) == 2


def test_a_row_may_change_more_than_its_strategy() -> None:
    (cell,) = matrix([Row("fedadam", label="slow", more={"server_lr": 0.01})], [])
    assert (cell.scenario.server_lr, cell.place.defence) == (0.01, "slow")
