from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fedcore import Scenario
from fedcore.engine.execution import Execution
from fedcore.harness.runs import job as worker
from fedcore.harness.runs.job import Failure, Job, execute_many
from fedcore.harness.runs.lockstep import LockstepPool
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Threshold, Thresholds
from fedcore.records.inputs import inputs_of
from fedcore.records.record import Record
from fedcore.records.store import Run, Store
from fedcore.simulation.trial import Trial

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=2)
STACKED = Execution("stacked", "cpu")
INPUTS = inputs_of(TINY, Path(), STACKED)
THRESHOLDS = Thresholds((Threshold("drop.any", "drop", None, 100, "r", {}),), Noise(2.0, 4))


def jobs(folder: Path, *seeds: int, store: bool = False) -> list[Job]:
    kept = Store(folder) if store else None
    return [Job(Run(TINY, seed), INPUTS, kept, folder, STACKED) for seed in seeds]


def test_jobs_are_made_stored_and_handed_back(tmp_path: Path) -> None:
    wanted = jobs(tmp_path, 0, 1, store=True)
    events = list(execute_many(wanted))
    assert events.count(None) == 4  # a heartbeat for every round of every run
    made = dict(event for event in events if event is not None)
    assert list(made) == wanted
    for job, record in made.items():
        assert isinstance(record, Record)
        assert job.store is not None
        assert job.store.get(job.run, INPUTS) == record


def test_errors_are_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = TINY.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=0.001)
    refused = Job(Run(idle, 0), None, None, tmp_path, STACKED)
    made = dict(e for e in execute_many([refused, *jobs(tmp_path, 0)]) if e is not None)
    failure = made[refused]
    assert isinstance(failure, Failure)
    assert failure.expected
    assert failure.message.startswith("AttackError: ")
    assert sum(isinstance(result, Record) for result in made.values()) == 1

    def broken(*_: object) -> Iterator[object]:
        raise ZeroDivisionError("a bug")
        yield

    monkeypatch.setattr(worker, "lockstep", broken)
    wanted = jobs(tmp_path, 0, 1)
    failed = dict(e for e in execute_many(wanted) if e is not None)
    assert list(failed) == wanted
    assert all("ZeroDivisionError" in f.message and not f.expected for f in failed.values())


def seed_1_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    conclude = Trial.conclude

    def broken(self: Trial, *arguments: Any) -> Any:
        if self.federation.seed == 1:
            raise error
        return conclude(self, *arguments)

    monkeypatch.setattr(Trial, "conclude", broken)


def test_a_bug_ends_only_what_trains_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_1_raises(monkeypatch, ZeroDivisionError("a bug"))
    healthy = Job(Run(TINY.but(lr=0.2), 0), None, None, tmp_path, STACKED)
    beside, sick = jobs(tmp_path, 0, 1)
    made = dict(e for e in execute_many([beside, sick, healthy]) if e is not None)
    assert isinstance(made[healthy], Record)
    for job in (beside, sick):
        assert "ZeroDivisionError" in made[job].message
        assert not made[job].expected


def test_want_of_memory_is_an_expected_failure_of_that_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_1_raises(monkeypatch, torch.OutOfMemoryError("simulated"))
    well, sick = jobs(tmp_path, 0, 1)
    made = dict(e for e in execute_many([well, sick]) if e is not None)
    assert isinstance(made[well], Record)
    assert made[sick].expected
    assert made[sick].message.startswith("MemoryShortage: the memory of cpu does not hold ")
    assert "Traceback" not in made[sick].message


class Fake:
    """Takes 0.05 s between events: a heartbeat, then each job's result."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Failure] | None]:
        self.batches.append([job.run.seed for job in jobs])
        for job in jobs:
            time.sleep(0.05)
            yield None
            yield job, Failure(str(job.run.seed), expected=True)


def test_all_that_is_queued_goes_together(tmp_path: Path) -> None:
    fake = Fake()
    pool = LockstepPool(fake)
    first, second, third, late = jobs(tmp_path, 0, 1, 2, 3)
    for job in (first, second, third, first):
        pool.submit(job)
    assert fake.batches == []
    assert pool.result(second).message == "1"
    assert pool.done(first)
    assert not pool.done(third)
    pool.submit(late)
    pool.submit(second)  # made already
    assert pool.result(late).message == "3"
    assert pool.done(third), "what was begun before comes first"
    assert fake.batches == [[0, 1, 2], [3]]


def test_a_caller_is_not_kept_waiting(tmp_path: Path) -> None:
    pool = LockstepPool(Fake())
    wanted = jobs(tmp_path, *range(4))
    for job in wanted:
        pool.submit(job)
    timeouts = 0
    while not pool.done(wanted[-1]):
        try:
            pool.result(wanted[-1], timeout=0.01)
        except TimeoutError:
            timeouts += 1
    assert timeouts >= 2


def test_closing_drops_what_is_left(tmp_path: Path) -> None:
    fake = Fake()
    pool = LockstepPool(fake)
    pool.submit(jobs(tmp_path, 0)[0])
    pool.close()
    assert fake.batches == []


def test_a_lab_in_lockstep_judges_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
    attacked = clean.but(attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0)
    cells = [Cell("clean", clean, 2), Cell("attacked", attacked, 2, attacked)]
    outcomes = []
    for place in ("alone", "lockstep"):
        if place == "lockstep":  # the pool of a GPU, here on the CPU
            monkeypatch.setattr("fedcore.harness.suite.lab.pool_of", lambda *_: LockstepPool())
        options = Options(device="cpu", engine="stacked", jobs=1, results=tmp_path / place)
        lab = Lab(options, THRESHOLDS)
        lab.begin(lab.plan(cells))
        outcomes.append([lab.judge(cell) for cell in cells])
        assert lab.progress.finished == lab.progress.planned == 4
        assert {record.engine for record in lab.computed()} == {"stacked"}
        lab.close()
    for one, other in zip(*outcomes, strict=True):
        assert one.verdict is other.verdict
        assert one.gates == other.gates


def test_the_cpu_keeps_its_worker_processes(tmp_path: Path) -> None:
    lab = Lab(Options(device="cpu", engine="stacked", results=tmp_path), THRESHOLDS)
    assert not isinstance(lab._pool, LockstepPool)
