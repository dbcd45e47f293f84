from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.engine.execution import Execution
from fedcore.harness.runs import pulse
from fedcore.harness.runs.job import Failure, Job
from fedcore.harness.runs.processes import ProcessPool
from fedcore.records.record import Record
from fedcore.records.store import Run

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
ALWAYS, ONCE = 100, 200  # seeds at and above these make the worker die


def mortal(job: Job) -> Failure:
    """Runs in a worker: notes the attempt, then dies or answers with the seed."""
    attempts = job.data_dir / str(job.run.seed)
    with attempts.open("a") as file:
        file.write("x")
    first = attempts.stat().st_size == 1
    if ALWAYS <= job.run.seed < ONCE or (job.run.seed >= ONCE and first):
        time.sleep(0.05)
        os._exit(1)
    return Failure(str(job.run.seed), expected=True)


def interrupts_ignored(job: Job) -> Failure:
    return Failure(str(signal.getsignal(signal.SIGINT) is signal.SIG_IGN), expected=True)


def slow(job: Job) -> Failure:
    time.sleep(0.5)
    return mortal(job)


def silent(job: Job) -> Failure:
    """Stops its process for ever, the first time or, at seeds from 100 to 199, each time."""
    answer = Failure(str(job.run.seed), expected=True)
    with (job.data_dir / str(job.run.seed)).open("a") as file:
        file.write("x")
    first = (job.data_dir / str(job.run.seed)).stat().st_size == 1
    if ALWAYS <= job.run.seed < ONCE or (job.run.seed >= ONCE and first):
        os.kill(os.getpid(), signal.SIGSTOP)
    return answer


def steady(job: Job) -> Failure:
    """Takes two seconds, and shows three times a second that it lives."""
    for _ in range(6):
        time.sleep(0.33)
        pulse.beat()
    return Failure("", expected=True)


def endless(job: Job) -> Failure:
    (job.data_dir / f"pid{os.getpid()}").touch()
    while True:
        time.sleep(0.05)
        (job.data_dir / "alive").touch()


def attempts(folder: Path) -> dict[int, int]:
    return {int(path.name): path.stat().st_size for path in folder.iterdir()}


def jobs(folder: Path, *seeds: int) -> list[Job]:
    return [Job(Run(TINY, seed), None, None, folder, Execution()) for seed in seeds]


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    made = ProcessPool(2, run=mortal)
    yield made
    made.close()


@pytest.mark.parametrize(
    "seeds",
    [(100, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 100), (0, 100, 2, 101, 4, 5)],
    ids=["first", "last", "two"],
)
def test_a_worker_that_dies_twice_is_reported_and_the_others_finish(
    pool: ProcessPool, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    wanted = jobs(tmp_path, *seeds)
    for job in wanted:
        pool.submit(job)
    for job in wanted:
        result = pool.result(job)
        assert isinstance(result, Failure)
        if job.run.seed < ALWAYS:
            assert result.message == str(job.run.seed)
            assert attempts(tmp_path)[job.run.seed] == 1  # it does not share a worker's fate
        else:
            assert not result.expected
            assert result.message == (
                f"the worker process of {job.run.id} ended with status 1, twice"
            )
            assert attempts(tmp_path)[job.run.seed] == 2
        assert pool.done(job)
    assert all(attempts(tmp_path)[seed] >= 1 for seed in seeds)
    news = pool.news()
    assert sorted(job.run.seed for job in news) == sorted(seeds)  # each once, whatever died
    assert pool.news() == []
    doomed = [seed for seed in seeds if seed >= ALWAYS]
    assert sorted(pool.incidents()) == sorted(
        f"a worker ended with status 1 during {job.run.id}: that run is made again"
        for job in jobs(tmp_path, *doomed)
    )


def test_a_worker_that_dies_once_is_made_good(pool: ProcessPool, tmp_path: Path) -> None:
    wanted = jobs(tmp_path, 0, 200, 2, 3)
    for job in wanted:
        pool.submit(job)
    # asked for in another order than submitted
    found = {job.run.seed: pool.result(job) for job in reversed(wanted)}
    assert found == {seed: Failure(str(seed), True) for seed in (0, 200, 2, 3)}
    assert attempts(tmp_path) == {0: 1, 200: 2, 2: 1, 3: 1}


def test_a_broken_pool_still_takes_jobs(pool: ProcessPool, tmp_path: Path) -> None:
    doomed, good = jobs(tmp_path, 100, 1)
    pool.submit(doomed)
    while not pool.done(doomed):
        time.sleep(0.01)
    pool.submit(good)
    assert pool.result(good) == Failure("1", True)
    result = pool.result(doomed)
    assert isinstance(result, Failure)
    assert not result.expected


def test_submitting_twice_runs_once(pool: ProcessPool, tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, 5)
    pool.submit(job)
    pool.submit(job)
    pool.result(job)
    pool.submit(job)
    assert pool.result(job) == pool.result(job) == Failure("5", True)
    assert attempts(tmp_path) == {5: 1}


def test_a_timeout_leaves_the_job_running(tmp_path: Path) -> None:
    pool = ProcessPool(2, run=slow)
    (job,) = jobs(tmp_path, 1)
    pool.submit(job)
    try:
        with pytest.raises(TimeoutError):
            pool.result(job, timeout=0.01)
        assert not pool.done(job)
        assert pool.result(job) == Failure("1", True)
    finally:
        pool.close()


def test_close_drops_what_waits_and_finishes_what_runs(tmp_path: Path) -> None:
    pool = ProcessPool(2, run=slow)
    wanted = jobs(tmp_path, *range(20))
    for job in wanted:
        pool.submit(job)
    while not any(map(pool.done, wanted)):
        time.sleep(0.01)
    pool.close()
    made = attempts(tmp_path)
    assert 2 <= len(made) < 20
    assert set(made.values()) == {1}
    pool.close()  # a second time changes nothing


def test_workers_leave_interrupts_to_the_first_process(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)  # a shell starts what is in its background without
    pool = ProcessPool(2, run=interrupts_ignored)
    (job,) = jobs(tmp_path, 1)
    pool.submit(job)
    try:
        assert pool.result(job) == Failure("True", True)
    finally:
        pool.close()
    assert signal.getsignal(signal.SIGINT) is before


def test_one_worker_is_this_process_and_works_when_asked(tmp_path: Path) -> None:
    pool = ProcessPool(1, run=mortal)
    first, second = jobs(tmp_path, 1, 2)
    pool.submit(first)
    pool.submit(second)
    assert attempts(tmp_path) == {}
    assert not pool.done(first)
    assert pool.result(second) == Failure("2", True)
    assert pool.result(second) == Failure("2", True)
    assert attempts(tmp_path) == {2: 1}
    assert not pool.done(first)
    pool.close()


def test_a_process_and_this_process_compute_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        pool = ProcessPool(workers)
        (job,) = jobs(tmp_path, 1)
        pool.submit(job)
        found.append(pool.result(job))
        pool.close()
    here, there = found
    assert isinstance(here, Record)
    assert isinstance(there, Record)
    assert (here.accuracy, here.loss) == (there.accuracy, there.loss)
    assert here.model_digest == there.model_digest
