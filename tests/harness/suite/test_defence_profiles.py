"""The matrix of benchmark/defences.py: what its profiles hold, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark import defences
from fedcore.attacks.attack import ATTACKS
from fedcore.harness.suite.cells import Cell, told_apart
from fedcore.harness.suite.options import Options
from fedcore.records.store import Run
from fedcore.strategies.strategy import STRATEGIES

ROOT = Path(__file__).resolve().parents[3]


def cells(**options: Any) -> list[Cell]:
    return list(defences.cells(Options(**options)))


def runs(found: list[Cell]) -> list[Run]:
    return list(dict.fromkeys(run for cell in found for run in cell.runs(range(cell.seeds))))


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_ids_are_distinct_and_the_literatures_federation_is_feasible(profile: str) -> None:
    found = cells(profile=profile)
    assert len({cell.id for cell in told_apart(found)}) == len(found)
    for cell in found:
        assert (cell.scenario.num_clients, cell.scenario.cohort_size) == (25, 25)
        assert cell.place.declared == 5
        told = cell.scenario.num_byzantine
        assert told in (None, 5)
        if cell.place.attack is not None:
            assert cell.scenario.num_malicious == 5
            assert cell.control.strategy == "fedavg"


def test_smoke_has_every_defence_and_every_attack_of_ours() -> None:
    found = cells(profile="smoke")
    rules = {cell.scenario.strategy for cell in found}
    assert rules >= {n for n in STRATEGIES if ".robust." in STRATEGIES.entry(n).part.__module__}
    known = {name for cell in found if cell.place.attack for name in defences_of(cell)}
    ours = {n for n in ATTACKS if ATTACKS.entry(n).part.__module__.startswith("fedcore.")}
    ours = {name for name in ours if ":" not in name}  # those of other tests are none
    # they need parameters: a pair of classes, a radius; or a network with BatchNorm
    assert known >= ours - {"targetedflip", "pgd", "buffers"}
    assert {cell.scenario.rounds for cell in found} == {3}
    assert len(runs(found)) <= 120


def defences_of(cell: Cell) -> set[str]:
    """Names of the attack of ``cell`` and of those within it."""
    attack, names = cell.scenario.parts.attack, set()
    while attack is not None:
        names.add(attack.name)
        attack = getattr(attack, "of", None)
    return names


def test_quick_and_full_train_until_the_curve_is_flat() -> None:
    quick, full = cells(profile="quick"), cells(profile="full")
    assert {cell.scenario.rounds for cell in quick + full} == {40}
    # 30 minutes of 2 cores, at 15 s a run
    assert len(runs(quick)) <= 220
    assert {cell.seeds for cell in full} == {5}
    first = {cell.place.defence for cell in quick}
    assert {"fedavg", "fednova", "median", "krum"} <= first
    # the first cells of full are those of quick
    assert [c.place for c in full[:12]] == [c.place for c in cells(profile="full")[:12]]
    assert {c.place.defence for c in full} >= first


def test_what_the_user_names_is_compared_with_plain_averaging() -> None:
    found = cells(
        profile="quick", strategies=("krum",), attacks=("signflip", "signflip(stretch=4)")
    )
    assert {cell.place.defence for cell in found} == {"fedavg", "krum"}
    assert {cell.place.attack for cell in found} == {None, "signflip", "signflip(stretch=4)"}
    chained = cells(profile="quick", strategies=("krum",), preaggregation="bucketing(size=2)")
    assert {cell.place.defence for cell in chained} == {"fedavg", "bucketing + krum"}


def test_a_user_sets_the_federation() -> None:
    found = cells(
        profile="quick", strategies=("median",), attacks=("labelflip",),
        settings=(("rounds", 7), ("malicious_fraction", 0.4), ("poison_ratio", 0.5)),
    )  # fmt: skip
    assert {cell.scenario.rounds for cell in found} == {7}
    assert {cell.place.declared for cell in found} == {10}
    assert {cell.scenario.poison_ratio for cell in found if cell.place.attack} == {0.5}


def test_the_study_has_no_matrix() -> None:
    assert cells(profile="study") == []


@pytest.mark.slow
def test_the_matrix_is_collected_where_its_file_is_named_and_nowhere_else() -> None:
    own = {name: value for name, value in os.environ.items() if "PYTEST_XDIST" not in name}
    counts = []
    for place in ("benchmark", "benchmark/test_defences.py"):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", place, "--collect-only", "-q", "--profile=smoke",
             "-p", "no:cacheprovider"],
            cwd=ROOT, env=own, capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-500:] + run.stderr
        counts.append(run.stdout.count("test_defences["))
    assert counts[0] == 0
    assert counts[1] == len(cells(profile="smoke"))
