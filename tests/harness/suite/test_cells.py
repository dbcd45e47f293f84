from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.errors import ScenarioError
from fedcore.harness.suite.cells import Cell, Grid
from fedcore.records.store import Run

BASE = Scenario(dataset="synthetic:400", model="mlp", num_clients=10, optimizer="sgd", lr=0.1)
IID = {"partition": "iid"}
SKEWED = {"partition": "dirichlet", "alpha": 0.1}
FLIP = {"attack": "labelflip"}


def grid(**changes: Any) -> Grid:
    small = Grid(
        base=BASE,
        strategies=[{"strategy": "fednova"}],
        partitions=[IID],
        attacks=[FLIP],
        malicious_fractions=[0.3],
        poison_ratios=[0.5],
        seeds=2,
    )
    return dataclasses.replace(small, **changes)


def test_runs_of_a_cell_are_distinct_and_ordered_by_seed() -> None:
    clean = Cell("c", BASE, 2)
    assert clean.runs((0, 1)) == [Run(BASE, 0), Run(BASE, 1)]
    attacked = BASE.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
    # an undefended arm is its own control
    own = Cell("a", attacked, 1, attacked)
    assert own.runs((4,)) == [Run(BASE, 4), Run(attacked, 4)]
    krum = attacked.but(strategy="median")
    wanted = [BASE.but(strategy="median"), krum, BASE, attacked]
    assert [r.scenario for r in Cell("k", krum, 1, attacked).runs((0,))] == wanted


def test_every_combination_in_reading_order() -> None:
    cells = list(
        grid(
            strategies=[{"strategy": "fedavg"}, {"strategy": "fednova"}],
            partitions=[IID, SKEWED],
            malicious_fractions=[0.1, 0.3],
            poison_ratios=[0.5, 1.0],
        ).cells()
    )
    assert len(cells) == 2 * 2 * (1 + 2 * 2)
    assert [cell.id for cell in cells[:6]] == [
        "fedavg-iid-clean",
        "fedavg-iid-labelflip-mal10pct-poison50pct",
        "fedavg-iid-labelflip-mal10pct-poison100pct",
        "fedavg-iid-labelflip-mal30pct-poison50pct",
        "fedavg-iid-labelflip-mal30pct-poison100pct",
        "fedavg-dirichlet0.1-clean",
    ]
    assert len({cell.id for cell in cells}) == len({cell.scenario for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", cell.id) for cell in cells)
    assert {cell.seeds for cell in cells} == {2}


def test_clean_cells_can_be_left_out() -> None:
    assert all(cell.scenario.attack for cell in grid(clean=False).cells())


def test_the_control_is_undefended_under_the_strongest_shares_of_the_partition() -> None:
    cells = list(
        grid(
            partitions=[IID, SKEWED], malicious_fractions=[0.5, 0.1], poison_ratios=[0.5, 1.0]
        ).cells()
    )
    for cell in cells:
        if cell.scenario.attack is None:
            assert cell.control is None
            continue
        assert cell.control is not None
        assert cell.control.strategy == "fedavg"
        assert (cell.control.malicious_fraction, cell.control.poison_ratio) == (0.5, 1.0)
        assert cell.control.partition == cell.scenario.partition
        assert cell.control.alpha == cell.scenario.alpha
        assert cell.control.attack == cell.scenario.attack


def test_the_control_has_nothing_in_front_of_its_strategy() -> None:
    strategies = [{"strategy": "median", "preaggregation": "bucketing", "num_clients": 20}]
    clean, attacked = grid(strategies=strategies).cells()
    assert clean.scenario.preaggregation == "bucketing(size=2)"
    assert "pre.bucketing" in clean.id
    assert attacked.control is not None
    assert (attacked.control.strategy, attacked.control.preaggregation) == ("fedavg", None)


def test_local_work_goes_to_each_arm_its_twin_and_its_control() -> None:
    rates = {"fedavg": 0.2, "fednova": 0.4}

    def local(scenario: Scenario) -> Scenario:
        return scenario.but(lr=rates[scenario.strategy])

    clean, attacked = grid(local=local).cells()
    assert clean.scenario.lr == attacked.scenario.lr == 0.4
    assert attacked.scenario.clean_twin() == clean.scenario
    assert attacked.control is not None
    assert attacked.control.lr == 0.2
    assert clean.id == "fednova-iid-clean"  # what is tuned is not part of the name


def test_what_a_user_sets_comes_after_the_local_work_and_is_named() -> None:
    given = {"rounds": 3, "lr": 0.7, "malicious_fraction": 0.4, "alpha": 0.5}
    cells = list(
        grid(
            partitions=[IID, SKEWED, {**SKEWED, "alpha": 0.9}],
            malicious_fractions=[0.1, 0.3],
            local=lambda scenario: scenario.but(lr=0.2),
            overrides=given,
        ).cells()
    )
    assert [cell.id for cell in cells] == [
        "fednova-iid-clean-lr0.7-rounds3",
        "fednova-iid-labelflip-mal40pct-poison50pct-lr0.7-rounds3",
        "fednova-dirichlet0.5-clean-lr0.7-rounds3",  # once: both levels of alpha give way
        "fednova-dirichlet0.5-labelflip-mal40pct-poison50pct-lr0.7-rounds3",
    ]
    for cell in cells:
        assert (cell.scenario.rounds, cell.scenario.lr) == (3, 0.7)
        if cell.control is not None:
            assert (cell.control.rounds, cell.control.lr) == (3, 0.7)
            assert cell.control.malicious_fraction == 0.4
    assert set(cells[0].changed) == {"rounds", "lr", "malicious_fraction"}  # IID reads no alpha
    assert set(cells[2].changed) == set(given)


def test_what_a_user_sets_to_the_suites_own_value_changes_nothing() -> None:
    given = {"num_clients": 10, "malicious_fraction": 0.3, "lr": 0.1}
    found = list(grid(overrides=given).cells())
    assert found == list(grid().cells())


def test_what_differs_from_the_reference_is_named() -> None:
    (cell, _) = grid(base=BASE.but(model="cnn"), named_against=BASE).cells()
    assert cell.id == "fednova-iid-clean-cnn"


def test_a_strategy_that_is_about_normalisation_brings_its_own() -> None:
    base = BASE.but(model="cnn")
    strategies = [{"strategy": "fedbn", "norm": "batch"}]
    clean, attacked = grid(base=base, strategies=strategies).cells()
    assert clean.id == "fedbn-iid-clean-normbatch"
    assert clean.scenario.norm == attacked.scenario.norm == "batch"
    with pytest.raises(ScenarioError, match="set norm='batch'"):
        list(grid(base=base, strategies=[{"strategy": "fedbn"}]).cells())


def test_a_grid_that_breaks_a_rule_says_so() -> None:
    with pytest.raises(ScenarioError, match="rounds to no malicious client"):
        list(grid(malicious_fractions=[0.01]).cells())
    with pytest.raises(ScenarioError, match="Did you mean 'fednova'"):
        list(grid(strategies=[{"strategy": "fednoba"}]).cells())
