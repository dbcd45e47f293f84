"""Whole runs with pre-aggregation: the same in every engine, and what a scenario refuses."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from fedcore.components.component import Component
from fedcore.errors import IdentityError, ScenarioError
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run
from fedcore.strategies.preaggregation.bucketing import Bucketing

TINY = Scenario(
    dataset="synthetic:240",
    model="cnn",
    norm="batch",
    num_clients=8,
    fraction_train=1.0,
    rounds=3,
    batch_size=8,
    local_epochs=(1, 2),
    optimizer="sgd",
    partition="dirichlet",
    alpha=0.5,
    min_partition_size=2,
    preaggregation="bucketing",
)
CHAINS = [
    TINY.but(strategy="median"),
    TINY.but(strategy="fedavg", preaggregation="bucketing(size=3)"),
    TINY.but(strategy="krum", num_byzantine=0),
    TINY.but(strategy="rfa"),
    TINY.but(strategy="fedbn", preaggregation="bucketing, bucketing"),
]
ids = [f"{scenario.strategy}-{scenario.rows}" for scenario in CHAINS]


def results(record: Record) -> tuple:
    return record.accuracy, record.loss, record.recall, record.model_digest, record.audit


@pytest.mark.parametrize("scenario", CHAINS, ids=ids)
def test_two_processes_give_the_same_bits(scenario) -> None:
    one = run(scenario, seed=2, device="cpu", engine="sequential")
    two = run(scenario, seed=2, device="cpu", engine="sequential", processes=2)
    assert results(two) == results(one)
    assert one.audit.identity.rounds_checked == 3
    assert one.audit.identity.rounds_due == one.audit.identity.rounds_differing == 3
    other = run(scenario.but(preaggregation=None), seed=2, device="cpu")
    assert other.model_digest != one.model_digest


@pytest.mark.parametrize("scenario", CHAINS, ids=ids)
def test_stacked_and_lockstep_give_the_same_but_for_rounding(scenario) -> None:
    plain = run(scenario, 1, device="cpu", engine="sequential", precision="float64")
    stacked = run(scenario, 1, device="cpu", engine="stacked", precision="float64")
    without = scenario.but(preaggregation=None)
    together, beside = run_lockstep(
        [(scenario, 1), (without, 1)], device="cpu", precision="float64"
    )
    for record in (stacked, together):
        assert record.accuracy == plain.accuracy
        assert record.loss == pytest.approx(plain.loss, rel=1e-8)
        assert record.audit.identity == plain.audit.identity
    assert beside.model_digest != together.model_digest


@pytest.mark.parametrize("scenario", CHAINS, ids=ids)
def test_flower_gives_the_same_bits(scenario) -> None:
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    plain = run(scenario, seed=2, device="cpu", engine="sequential")
    assert results(run(scenario, seed=2, device="cpu", engine="flower-grid")) == results(plain)


def test_the_chain_is_part_of_every_name_of_a_run() -> None:
    plain = TINY.but(preaggregation=None)
    assert len({plain.hash, TINY.hash, TINY.but(preaggregation="bucketing(size=3)").hash}) == 3
    assert len({plain.id, TINY.id, TINY.but(preaggregation="bucketing(size=3)").id}) == 3
    assert TINY == TINY.but(preaggregation=(Bucketing(),)) == TINY.but(preaggregation=Bucketing())
    assert Scenario.from_dict(TINY.to_dict()) == TINY
    assert TINY.rows == 4
    assert TINY.but(preaggregation="bucketing(size=3), bucketing").rows == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"strategy": "krum", "num_byzantine": 1},
            r"> 2 f \+ 2, got 4 rows of 8 clients <= 2 \* 1",
        ),
        (
            {"strategy": "multikrum", "num_byzantine": 0, "num_selected": 5},
            "num_selected must be <= cohort - f = 4, got 5",
        ),
        ({"strategy": "bulyan"}, r"f >= 1, got 4 rows of 8 clients with f = 0"),
        ({"strategy": "trimmedmean"}, r"floor\(trim_fraction \* rows\) = floor\(0.2 \* 4\) = 0"),
        (
            {"strategy": "median", "preaggregation": "bucketing(size=4)"},
            "is their mean, got a cohort of 2 rows of 8 clients",
        ),
        (
            {"strategy": "rfa", "preaggregation": "bucketing(size=4)"},
            "withstands nobody, got a cohort of 2 rows of 8 clients",
        ),
        (
            {"strategy": "fednova"},
            r"rows of preaggregation 'bucketing' are of several clients: choose another",
        ),
        (
            {"preaggregation": "bucketing(size=8)"},
            r"preaggregation 'bucketing\(size=8\)' leaves one row of a cohort of 8",
        ),
        ({"preaggregation": "bucketing(size=1)"}, "size must be >= 2, got 1"),
        ({"preaggregation": "bucketting"}, "unknown preaggregation 'bucketting'"),
        (
            {"strategy": "flower", "strategy_spec": "flwr.serverapp.strategy:FedAvg"},
            "'flower' aggregates whole replies.*leave preaggregation out",
        ),
        (
            {"privacy": "centraldp", "epsilon": 1.0, "norm": "group"},
            "centraldp bounds what a client can do to a weighted mean.*preaggregation",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, problem) -> None:
    with pytest.raises(ScenarioError, match=problem):
        TINY.but(**changes)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        TINY.but(strategy="fednova", optimizer="adam", preaggregation="bucketing(size=8)")
    assert len(caught.value.problems) == 3


def test_one_object_serves_every_run_and_survives_a_pickle() -> None:
    scenario = TINY.but(strategy="rfa", aggregation_iterations=1)
    strategy = scenario.parts.strategy
    first, second = (run(scenario, seed=4, device="cpu") for _ in range(2))
    assert results(second) == results(first)
    assert "in 3 of 3 rounds" in first.audit.notes[0]  # not of 6
    copied = pickle.loads(pickle.dumps(scenario))
    assert copied == scenario
    assert copied.parts.strategy == strategy
    assert run(copied, seed=4, device="cpu").model_digest == first.model_digest
    assert isinstance(strategy, Component)
    with pytest.raises(dataclasses.FrozenInstanceError):
        strategy.smoothing = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_mix_that_is_left_out_of_a_run_is_refused(monkeypatch, engine) -> None:
    def unmixed(self, updates, cohort, generator):
        rows = self.rows(len(updates))
        facts = {name: getattr(cohort, name)[:rows] for name in ("clients", "samples", "steps")}
        mixed = dataclasses.replace(cohort, normalizers=(None,) * rows, **facts)
        return updates[:rows], mixed

    monkeypatch.setattr(Bucketing, "mix", unmixed)
    with pytest.raises(IdentityError, match="'bucketing' does not make the means of its round's"):
        run(TINY.but(strategy="median"), device="cpu", engine=engine)
