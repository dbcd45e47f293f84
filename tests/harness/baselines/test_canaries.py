from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark import canary_rule
from benchmark import test_canaries as suite
from benchmark.canary_rule import CORE, LEAST
from benchmark.test_canaries import BASE, FILE, built
from fedcore import Scenario
from fedcore.attacks.attack import ATTACKS
from fedcore.components.kinds import PREAGGREGATIONS
from fedcore.components.registry import Registry
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


REGISTERED: dict[str, Registry[Any]] = {
    "strategy": STRATEGIES,
    "partition": PARTITIONERS,
    "attack": ATTACKS,
    "optimizer": OPTIMIZERS,
    "preaggregation": PREAGGREGATIONS,
}


def seldom(scenarios: Iterable[Scenario]) -> list[str]:
    """The components of fedcore that are in fewer canaries than the rule says."""
    counts: Counter[tuple[str, str]] = Counter()
    for scenario in scenarios:
        counts.update((kind, part.name) for kind, part in scenario.parts.chosen())
    return [
        f"{kind} {name}: {counts[kind, name]}"
        for kind, registry in REGISTERED.items()
        for name in ours(registry)
        if name != "flower" and counts[kind, name] < LEAST[kind]
    ]


def test_every_component_of_ours_has_its_canaries_and_all_are_recorded() -> None:
    scenarios, wrong = built()
    assert not wrong
    assert seldom(scenarios.values()) == []
    arms = {(s.strategy, s.partition, s.attack) for s in scenarios.values()}
    for strategy in CORE["strategy"]:
        for partition in CORE["partition"]:
            for attack in (None, *CORE["attack"]):
                assert (strategy, partition, attack) in arms
    recorded = RecordedCanaries.read(FILE)
    assert {n: h for n, (h, _) in recorded.canaries.items()} == {
        name: scenario.hash for name, scenario in scenarios.items()
    }
    for name, (_, trace) in recorded.canaries.items():
        assert trace.tested == 1000
        assert trace.rounds == scenarios[name].evaluated_rounds
        assert trace.model is None
    assert json.loads(FILE.read_text())["source"]["fingerprint"].endswith("sequential-float64")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("strategy", "krum"),
        ("partition", "pathological"),
        ("attack", "signflip"),
        ("optimizer", "adam"),
        ("preaggregation", "bucketing"),
    ],
)
def test_a_component_left_out_is_named(kind: str, name: str) -> None:
    left = [s for s in built()[0].values() if name not in str(s.to_dict().get(kind))]
    assert f"{kind} {name}: 0" in seldom(left)


def test_the_number_of_canaries_stays_small() -> None:
    """The catalogue of 28 strategies, 24 attacks, 5 partitions and 4 pre-aggregations."""
    new = {kind: [f"new{i}" for i in range(n)] for kind, n in NEW.items()}
    names = {kind: [*CORE[kind], *new[kind]] for kind in NEW}
    names["attack"][-1] = "alie"
    cells = list(canary_rule.grid(names["strategy"], names["partition"], names["attack"]))
    assert len(cells) == len(set(cells)) == 15 * 3 * 7 + 13 * (3 + 3) + 18 * 4 + 2 * 4
    others = len(list(canary_rule.steps(names["preaggregation"]))) + len(list(OPTIMIZERS))
    assert len(cells) + others + len(suite.FURTHER) < 520
    assert sum(map(canary_rule.is_core, cells)) == 15 * 3 * 7


NEW = {"strategy": 13, "partition": 2, "attack": 18, "preaggregation": 3}


def registered(patch: pytest.MonkeyPatch, registry: Registry[Any], base: str) -> None:
    """Register ``mine`` as one of ours, a class like ``base``, until ``patch`` is undone."""
    module = registry[base].__module__  # and all are registered
    made: Any = type("Mine", (registry[base],), {"__module__": "somebody.mine"})
    patch.setattr(registry, "_entries", dict(registry._entries))
    registry.register("mine", "of somebody else")(made)
    assert "mine" not in ours(registry)
    made.__module__ = module
    assert "mine" in ours(registry)


@pytest.mark.parametrize(
    ("kind", "base", "count"),
    [
        ("strategy", "fedavg", 6),
        ("attack", "signflip", 4),
        ("partition", "iid", 4),
        ("preaggregation", "bucketing", 2),
        ("optimizer", "sgd", 1),
    ],
)
def test_a_new_component_fails_until_it_is_recorded(
    kind: str, base: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        registered(patch, REGISTERED[kind], base)
        scenarios, wrong = built()
        assert seldom(scenarios.values()) == []
        # the rule of its kind forgets it
        patch.setattr(canary_rule, "_cells", lambda *names: iter(()))
        patch.setattr(suite, "steps", lambda names: iter(()))
        patch.setattr(suite, "OPTIMIZERS", {})
        assert f"{kind} mine: 0" in seldom(built()[0].values())
    assert not wrong
    new = [name for name in scenarios if "mine" in name.split("-")]
    assert len(new) == count >= LEAST[kind]
    short = {s.rounds for n, s in scenarios.items() if n in new}
    assert short == ({10} if kind in ("optimizer", "preaggregation") else {canary_rule.SHORT})
    recorded = RecordedCanaries.read(FILE).canaries
    trace = next(iter(recorded.values()))[1]
    lines = list(differences(recorded, scenarios, dict.fromkeys(scenarios, trace)))
    assert {f"{name}: not recorded yet" for name in new} == {
        line for line in lines if line.endswith("not recorded yet") and "mine" in line
    }


def session(
    patch: pytest.MonkeyPatch, file: Path, scenarios: dict[str, Scenario], update: str | None
) -> tuple[list[str], list[str]]:
    """(what `test_canaries` remarks, which canaries it ran) with ``file`` and ``scenarios``."""
    remarks: list[str] = []
    ran: list[str] = []

    def counted(chosen: dict[str, Scenario], *rest: Any) -> Any:
        ran.extend(chosen)
        return traces(chosen, *rest)

    patch.setattr(suite, "FILE", file)
    patch.setattr(suite, "built", lambda: (dict(scenarios), []))
    patch.setattr(suite, "traces", counted)
    options = SimpleNamespace(dataset="mnist5k", data_dir=None, jobs=1)
    request = SimpleNamespace(config=SimpleNamespace(getoption=lambda name: update))
    suite.test_canaries(options, request, remarks.append)  # type: ignore[arg-type]
    return remarks, ran


def test_what_is_new_is_added_and_the_rest_left(
    recorded: RecordedCanaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "canaries.json"
    wrong = dataclasses.replace(recorded.canaries["one"][1], correct=(1, 2))
    only = RecordedCanaries(SOURCE, {"one": (TINY.hash, wrong)})
    only.write(file)
    remarks, ran = session(monkeypatch, file, SCENARIOS, "new")
    assert ran == ["krum"]
    assert remarks == ["new: krum", "canaries: 1 added to canaries.json, 1 left as recorded"]
    after = RecordedCanaries.read(file)
    assert after.source == SOURCE
    assert after.canaries == {**only.canaries, "krum": recorded.canaries["krum"]}
    (more,) = after.added
    assert more.names == ("krum",)
    assert more.source.command == "pytest benchmark/test_canaries.py --update-canaries"
    # again: nothing is new, and the file stays
    text = file.read_text()
    remarks, ran = session(monkeypatch, file, SCENARIOS, "new")
    assert (ran, file.read_text()) == ([], text)
    assert remarks == ["canaries: 0 added to canaries.json, 2 left as recorded"]
    # the one that is wrong is told, until all are recorded anew
    with pytest.raises(pytest.fail.Exception, match=r"one: first in round 1: 1 -> \d+ of 1000"):
        session(monkeypatch, file, SCENARIOS, None)
    remarks, ran = session(monkeypatch, file, SCENARIOS, "all")
    assert ran == ["one", "krum"]
    assert remarks[0].startswith("changed: one: first in round 1")
    assert remarks[1] == "canaries: 2 recorded in canaries.json, 1 of them changed"
    assert RecordedCanaries.read(file).added == ()
    assert session(monkeypatch, file, SCENARIOS, None)[0][0].endswith("0 differ from canaries.json")


def test_nothing_is_written_where_one_cannot_be_made(
    recorded: RecordedCanaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "canaries.json"
    recorded.write(file)
    before = file.read_text()
    broken = {**SCENARIOS, "new": TINY.but(dataset="npz:absent")}
    with pytest.raises(pytest.fail.Exception, match="not recorded, as some canaries could not"):
        session(monkeypatch, file, broken, "new")
    assert file.read_text() == before


def test_a_component_that_cannot_run_at_the_settings_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert issubclass(STRATEGIES["median"], Strategy)
    known = {name for name in built()[0] if name.startswith("median-")}
    refuse = classmethod(lambda cls, scenario: ["it needs a larger cohort"])
    monkeypatch.setattr(STRATEGIES["median"], "problems", refuse)
    scenarios, wrong = built()
    assert not any(name.startswith("median-") for name in scenarios)
    assert {line.split(":")[0] for line in wrong} == known
    assert wrong[0].startswith("median-dirichlet-clean: ")
    assert "it needs a larger cohort" in wrong[0]
    assert "give it what it needs in GIVEN" in wrong[0]
    assert BASE.cohort_size == 10
