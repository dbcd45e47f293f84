"""Runs in lockstep give the records that each gives alone."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from fedcore.engine.execution import Execution
from fedcore.errors import AttackError, DataError, FedcoreError, IdentityError
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation import lockstep_group as module
from fedcore.simulation.lockstep import lockstep, lockstep_key, run_lockstep
from fedcore.simulation.lockstep_member import Member
from fedcore.simulation.runner import run
from fedcore.simulation.trial import RoundReport, Trial

TINY = Scenario(
    dataset="synthetic:160",
    model="mlp",
    norm="batch",
    num_clients=6,
    rounds=3,
    local_epochs=(1, 2),
    batch_size=8,
    optimizer="sgd",
)
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.5, "poison_ratio": 0.5}
STACKED = Execution("stacked", "cpu", "float64")
RUNS = [
    (TINY, 0),
    (TINY.but(**ATTACK), 0),
    (TINY.but(**ATTACK, redraw=True), 1),
    (TINY.but(strategy="fednova"), 1),
    (TINY.but(strategy="fedbn", rounds=5), 2),
    (TINY.but(partition="dirichlet", alpha=0.5, min_partition_size=2), 3),
]


def alone(scenario: Scenario, seed: int, precision: str = "float64") -> Record:
    return run(scenario, seed, engine="stacked", device="cpu", precision=precision)


def assert_same(one: Record, other: Record) -> None:
    """All that is computed, but for the last bits."""
    assert one.accuracy == other.accuracy
    assert one.recall == other.recall
    assert one.loss == pytest.approx(other.loss, rel=1e-9)
    assert one.audit == other.audit
    for name in ("scenario", "seed", "engine", "rounds", "asr", "diverged"):
        assert getattr(one, name) == getattr(other, name)


def results(runs, budget: int | None = None) -> dict[int, Record | FedcoreError]:
    events = lockstep(runs, STACKED, None, budget)
    return {place: event for place, event in events if not isinstance(event, RoundReport)}


def test_every_run_gets_the_record_that_it_gets_alone() -> None:
    records = run_lockstep(RUNS, device="cpu", precision="float64")
    assert [(r.scenario, r.seed) for r in records] == RUNS
    for record, (scenario, seed) in zip(records, RUNS, strict=True):
        assert_same(record, alone(scenario, seed))
        assert all(seconds > 0 for seconds in dataclasses.astuple(record.timings))


def test_what_trains_together() -> None:
    key = lockstep_key(TINY)
    together = [scenario for scenario, _ in RUNS]
    assert {lockstep_key(scenario) for scenario in together} == {key}
    apart = [
        *({"lr": 0.2}, {"batch_size": 9}, {"norm": "group"}, {"model": "cnn"}),
        *({"optimizer": "momentum"}, {"dataset": "synthetic:161"}, {"weight_decay": 0.1}),
    ]
    assert all(lockstep_key(TINY.but(**changes)) != key for changes in apart)


def test_incompatible_runs_are_made_one_group_after_the_other() -> None:
    other = TINY.but(lr=0.2)
    runs = [(TINY, 0), (other, 0), (TINY, 1)]
    heard = []
    records = run_lockstep(
        runs, device="cpu", precision="float64", on_round=lambda place, _: heard.append(place)
    )
    assert heard == [0, 2] * 3 + [1] * 3
    assert_same(records[1], alone(other, 0))


def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of runs of each round that is begun."""
    teams: list[int] = []
    advance = module.Group._advance

    def spy(self, team):
        teams.append(len(team))
        return advance(self, team)

    monkeypatch.setattr(module.Group, "_advance", spy)
    return teams


def test_the_budget_splits_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client takes about 0.3 MB; cohorts of 3."""
    teams = limits(monkeypatch)
    made = results([(TINY, seed) for seed in range(5)], budget=2_000_000)
    assert max(teams) == 2
    assert len(teams) == 3 * 3
    for seed, record in made.items():
        assert_same(record, alone(TINY, seed))


def test_a_cohort_larger_than_the_budget_trains_in_blocks() -> None:
    assert_same(results([(TINY, 0)], budget=1)[0], alone(TINY, 0))


def test_memory_that_runs_out_splits_the_team_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In round 2 more than two runs no longer fit, wherever that is noticed."""
    teams = limits(monkeypatch)
    train = module.Group._train

    def short(self, training):
        if len(training) > 2 and training[0].trial.round == 2:
            train(self, training)  # all is done, and then does not fit
            raise torch.OutOfMemoryError("simulated")
        return train(self, training)

    monkeypatch.setattr(module.Group, "_train", short)
    made = results(RUNS)
    assert sorted(made) == list(range(len(RUNS)))
    assert teams[:2] == [6, 6]
    assert max(teams[2:]) == 3
    for place, (scenario, seed) in enumerate(RUNS):
        assert_same(made[place], alone(scenario, seed))


def test_a_run_that_cannot_be_made_does_not_disturb_the_others(tmp_path: Path) -> None:
    idle = TINY.but(**{**ATTACK, "poison_ratio": 0.001})
    missing = TINY.but(dataset=f"npz:{tmp_path}/absent.npz")
    made = results([(idle, 0), (TINY, 0), (missing, 0), (missing, 1)])
    assert isinstance(made[0], AttackError)
    assert isinstance(made[2], DataError)
    assert_same(made[1], alone(TINY, 0))
    with pytest.raises(AttackError):
        run_lockstep([(TINY, 0), (idle, 0)], device="cpu")


def test_an_arm_that_is_not_what_it_says_is_an_error_of_that_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Trial.record

    def belied(self: Trial) -> Record:
        if self.federation.seed == 1:
            raise IdentityError("not what its name says")
        return record(self)

    monkeypatch.setattr(Trial, "record", belied)
    made = results([(TINY, 0), (TINY, 1)])
    assert isinstance(made[0], Record)
    assert isinstance(made[1], IdentityError)


def test_a_diverged_run_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedcore.strategies.averaging.fednova import FedNova

    scenario = TINY.but(strategy="fednova")
    step = FedNova.step

    def explode(self, updates, cohort, memory):
        return step(self, updates, cohort, memory) * float("inf")

    copied = []
    saved = Member._saved
    monkeypatch.setattr(FedNova, "step", explode)
    monkeypatch.setattr(Member, "_saved", lambda self: copied.append(self.place) or saved(self))
    made = results([(TINY, 0), (scenario, 0), (TINY, 1)])
    assert copied.count(1) == 1  # not in rounds that compute nothing
    assert copied.count(0) == TINY.rounds
    assert made[1].diverged == 1
    assert made[1].accuracy == (0.1,) * 3
    for place, seed in ((0, 0), (2, 1)):
        assert_same(made[place], alone(TINY, seed))


def test_threads_are_left_alone_between_events() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in itertools.islice(lockstep([(TINY, 0)], STACKED), 2):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_images_are_on_the_device_once() -> None:
    group = module.Group({}, STACKED, None, None)
    members = [group._member(seed, TINY.but(image_size=12), seed) for seed in range(2)]
    one, other = (member.trial.federation for member in members)
    assert one.train_images.data_ptr() == other.train_images.data_ptr()
    assert one.test.images.data_ptr() == other.test.images.data_ptr()
