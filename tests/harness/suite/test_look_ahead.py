"""A lab looks ahead with work that grows with its runs, not with their square."""

# ruff: noqa: F811  (fixtures that are imported)
from __future__ import annotations

from typing import Any

import pytest

from fedcore.harness.runs import job as worker
from fedcore.harness.runs.job import Failure
from fedcore.harness.suite.cells import Cell
from fedcore.records.record import Record
from fedcore.records.store import Run
from tests.harness.suite.test_lab import ATTACKED, CELLS, MakeLab, lab, started  # noqa: F401


class Counting:
    """Two workers that make nothing by themselves; counts what a lab asks."""

    workers = 2

    def __init__(self) -> None:
        self.queue: list[worker.Job] = []
        self.made: dict[worker.Job, Record | Failure] = {}
        self.fresh: list[worker.Job] = []
        self.asked = 0

    def submit(self, job: worker.Job) -> None:
        self.queue.append(job)

    def done(self, job: worker.Job) -> bool:
        self.asked += 1
        return job in self.made

    def news(self) -> list[worker.Job]:
        fresh, self.fresh = self.fresh, []
        return fresh

    def result(self, job: worker.Job, timeout: float | None = None) -> Record | Failure:
        if job not in self.made:
            raise TimeoutError
        return self.made[job]

    def finish(self, jobs: list[worker.Job]) -> None:
        for job in jobs:
            self.made[job] = Failure("none is made", expected=True)
            self.fresh.append(job)

    def close(self) -> None:
        pass


def test_the_work_of_all_ticks_grows_with_runs_and_not_with_their_square(
    lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 cells, 1,200 runs, a tick after each: by hand, a run of each cell is looked at once or
    twice (when it is watched, when it is finished), and each cell is judged once."""
    pool = Counting()
    monkeypatch.setattr("fedcore.harness.suite.lab.pool_of", lambda *_: pool)
    one = lab(fresh=True)
    cells = [Cell(f"c{i}", ATTACKED.but(lr=0.01 + i / 1e4), 2, max_seeds=4) for i in range(300)]
    looked = judged = 0
    finished, outcome = one._finished, one._outcome

    def counted(run: Run) -> bool:
        nonlocal looked
        looked += 1
        return finished(run)

    def judging(*given: Any) -> Any:
        nonlocal judged
        judged += 1
        return outcome(*given)

    monkeypatch.setattr(one, "_finished", counted)
    monkeypatch.setattr(one, "_outcome", judging)
    progress = started(one, cells)
    assert progress.planned == 1200
    one.expect(cells)
    for _ in range(50):  # no worker is idle: a tick costs nothing
        one._look_ahead()
    assert (looked, judged, pool.asked) == (0, 0, 0)
    jobs = list(pool.queue)
    pool.finish(jobs[:-1])
    for _ in range(50):
        one._look_ahead()
        assert one.progress.finished == 1199
    assert pool.asked == 0
    assert judged == 299  # the last cell waits for its last run
    assert 1200 <= looked <= 2400
    pool.finish(jobs[-1:])
    one._look_ahead()
    assert judged == 300
    assert one.judge(cells[0]).errors
    assert judged == 300  # an outcome that is known is not judged again
    assert one.progress.remaining == 0


def test_a_pool_that_cannot_tell_what_is_done_is_asked(
    lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Counting()
    monkeypatch.delattr(Counting, "news")
    monkeypatch.setattr("fedcore.harness.suite.lab.pool_of", lambda *_: pool)
    one = lab(fresh=True)
    started(one, CELLS)
    pool.finish(pool.queue[1:])
    assert one.progress.finished == 3
    pool.asked = 0
    assert one.progress.finished == 3
    assert pool.asked == 1  # what is known to be done is not asked about
