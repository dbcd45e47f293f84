from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmark.test_canaries import BASE, FILE, built
from fedcore import Scenario
from fedcore.attacks.attack import ATTACKS
from fedcore.data.loading import data_directory
from fedcore.harness.baselines.canaries import RecordedCanaries, differences, ours, traces
from fedcore.harness.baselines.file import BaselineError, Origin
from fedcore.harness.exact.trace import Trace
from fedcore.harness.runs.job import Failure
from fedcore.optimizers.solvers import OPTIMIZERS
from fedcore.partition.partitioner import PARTITIONERS
from fedcore.strategies.strategy import STRATEGIES, Strategy

SOURCE = Origin("2025-01-01", "c0ffee", False, "code", "torch 2", "this CPU", "pytest")
TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds=2)
SCENARIOS = {"one": TINY, "krum": TINY.but(strategy="krum")}


@pytest.fixture(scope="module")
def now() -> dict[str, Trace | Failure]:
    return traces(SCENARIOS, 0, data_directory(None), jobs=1)


@pytest.fixture
def recorded(now: dict[str, Trace | Failure]) -> RecordedCanaries:
    found = {n: (s.hash, t) for n, s in SCENARIOS.items() if isinstance(t := now[n], Trace)}
    return RecordedCanaries(SOURCE, found)


def test_a_file_is_read_as_it_was_written(recorded: RecordedCanaries, tmp_path: Path) -> None:
    path = tmp_path / "canaries.json"
    recorded.write(path)
    assert RecordedCanaries.read(path) == recorded
    assert len(path.read_text().splitlines()) == 17  # a line for each canary and fact


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-9], "holds no canaries"),
        (lambda text: text.replace('"loss": [2', '"loss": [3', 1), "does not match its checksum"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9, this version reads 1"),
        (lambda text: "[]", "holds no canaries"),
    ],
    ids=["cut", "edited", "schema", "empty"],
)
def test_a_damaged_file_is_refused(recorded: RecordedCanaries, damage, message: str) -> None:
    with pytest.raises(BaselineError, match=message):
        RecordedCanaries.from_text(damage(recorded.to_text()), "canaries.json")


def test_equal_runs_do_not_differ(
    recorded: RecordedCanaries, now: dict[str, Trace | Failure]
) -> None:
    assert list(differences(recorded.canaries, SCENARIOS, now)) == []


def test_what_differs_is_said_with_its_name(
    recorded: RecordedCanaries, now: dict[str, Trace | Failure]
) -> None:
    (hash, trace) = recorded.canaries["krum"]
    worse = (trace.correct[0], trace.correct[1] + 3)
    known = {
        "one": ("another", recorded.canaries["one"][1]),
        "krum": (hash, dataclasses.replace(trace, correct=worse)),
        "old": (hash, trace),
    }
    scenarios = {**SCENARIOS, "new": TINY, "broken": TINY}
    result = {**now, "new": now["one"], "broken": Failure("no data", expected=True)}
    lines = list(differences(known, scenarios, result))
    assert lines[0] == f"one: of another scenario (another -> {TINY.hash})"
    assert lines[1].startswith(f"krum: first in round 2: {worse[1]} -> {worse[1] - 3} of 1000")
    assert lines[2:] == [
        "new: not recorded yet",
        "broken: no data",
        "old: recorded, and no longer a canary",
    ]


def test_every_component_of_ours_has_its_canaries_and_all_are_recorded() -> None:
    scenarios, wrong = built()
    assert not wrong
    arms = {(s.strategy, s.partition, s.attack) for s in scenarios.values()}
    for strategy in set(ours(STRATEGIES)) - {"flower"}:
        for partition in ours(PARTITIONERS):
            for attack in (None, *ours(ATTACKS)):
                assert (strategy, partition, attack) in arms
    assert {s.optimizer for s in scenarios.values()} == set(ours(OPTIMIZERS))
    recorded = RecordedCanaries.read(FILE)
    assert {n: h for n, (h, _) in recorded.canaries.items()} == {
        name: scenario.hash for name, scenario in scenarios.items()
    }
    for name, (_, trace) in recorded.canaries.items():
        assert trace.tested == 1000
        assert trace.rounds == scenarios[name].evaluated_rounds
        assert trace.model is None
    assert json.loads(FILE.read_text())["source"]["fingerprint"].endswith("sequential-float64")


def test_a_new_strategy_fails_until_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(STRATEGIES["fedavg"]):  # type: ignore[name-defined,misc]
        pass

    with monkeypatch.context() as patch:
        STRATEGIES["fedavg"]  # all are registered
        patch.setattr(STRATEGIES, "_entries", dict(STRATEGIES._entries))
        STRATEGIES.register("mine", "of somebody else")(Mine)
        assert "mine" not in ours(STRATEGIES)
        Mine.__module__ = "fedcore.strategies.mine"
        assert "mine" in ours(STRATEGIES)
        scenarios, wrong = built()
    assert not wrong
    new = [name for name in scenarios if name.startswith("mine-")]
    assert len(new) == len(PARTITIONERS_AND_ATTACKS)
    recorded = RecordedCanaries.read(FILE).canaries
    trace = next(iter(recorded.values()))[1]
    lines = list(differences(recorded, scenarios, dict.fromkeys(scenarios, trace)))
    assert [line for line in lines if line.startswith("mine-")] == [
        f"{name}: not recorded yet" for name in new
    ]


PARTITIONERS_AND_ATTACKS = [(p, a) for p in PARTITIONERS for a in (None, *ATTACKS)]


def test_a_component_that_cannot_run_at_the_settings_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert issubclass(STRATEGIES["median"], Strategy)
    refuse = classmethod(lambda cls, scenario: ["it needs a larger cohort"])
    monkeypatch.setattr(STRATEGIES["median"], "problems", refuse)
    scenarios, wrong = built()
    assert not any(name.startswith("median-") for name in scenarios)
    further = ("median-odd", "median-bucketing")
    assert len(wrong) == len(PARTITIONERS_AND_ATTACKS) + len(further)
    assert wrong[0].startswith("median-dirichlet-clean: ")
    assert "it needs a larger cohort" in wrong[0]
    assert "give it what it needs in GIVEN" in wrong[0]
    assert BASE.cohort_size == 10
