"""Workers that hang, sessions that are ended, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedcore.harness.runs.job import Failure
from fedcore.harness.runs.processes import ProcessPool
from fedcore.harness.runs.worker import Worker
from tests.harness.runs.test_processes import (
    ONCE,
    attempts,
    endless,
    jobs,
    mortal,
    silent,
    steady,
)


def test_a_stopped_worker_is_named_ended_and_its_run_made_once_more(tmp_path: Path) -> None:
    pool = ProcessPool(2, run=silent, patience=1.0)
    once, always, good = jobs(tmp_path, 200, 100, 1)
    for job in (once, always, good):
        pool.submit(job)
    try:
        assert pool.result(good) == Failure("1", True)
        assert pool.result(once) == Failure("200", True)
        assert pool.result(always) == Failure(
            f"the worker process of {always.run.id} gave no sign of life for 1 s and was ended, "
            "twice: raise --worker-timeout if a round may take that long",
            expected=False,
        )
    finally:
        pool.close()
    assert attempts(tmp_path) == {1: 1, 100: 2, 200: 2}
    assert sorted(pool.incidents()) == sorted(
        f"a worker gave no sign of life for 1 s and was ended during {job.run.id}: that run is "
        "made again"
        for job in (once, always)
    )


def test_a_slow_run_that_shows_that_it_lives_is_left_alone(tmp_path: Path) -> None:
    pool = ProcessPool(2, run=steady, patience=1.5)
    (job,) = jobs(tmp_path, 1)
    pool.submit(job)
    try:
        assert pool.result(job) == Failure("", True)
    finally:
        pool.close()
    assert pool.incidents() == []


def test_time_in_which_everything_was_stopped_does_not_count() -> None:
    class Deaf(Worker):
        def __init__(self) -> None:
            self.patience = self._limit = 10.0
            self._silent, self._busy, self._heard = False, True, 0.0
            self.killed = False

        def kill(self) -> None:
            self.killed = True

    worker = Deaf()
    assert not worker.check(10.0)
    assert not worker.check(500.0, pause=495.0)  # as by Ctrl-Z
    assert not worker.killed
    assert worker.check(506.0)
    assert worker.killed
    assert not worker.check(600.0)  # once


def test_abandon_ends_what_runs_at_once_and_says_what_is_lost(tmp_path: Path) -> None:
    pool = ProcessPool(2, run=endless)
    wanted = jobs(tmp_path, *range(5))
    for job in wanted:
        pool.submit(job)
    while len(list(tmp_path.glob("pid*"))) < 2:
        time.sleep(0.02)
    lost = pool.abandon()
    assert len(lost) == 2
    assert set(lost) < set(wanted)
    time.sleep(0.2)
    for path in tmp_path.glob("pid*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name[3:]), 0)
    (tmp_path / "alive").unlink(missing_ok=True)
    time.sleep(0.2)
    assert not (tmp_path / "alive").exists()
    assert len(list(tmp_path.glob("pid*"))) == 2  # nothing that waited has begun
    pool.close()  # a second time changes nothing


DOOMED = """
import os, signal, sys
from pathlib import Path
from fedcore.harness.runs import forkserver
folder = Path(sys.argv[1])
if sys.argv[2] == "starting":
    from multiprocessing import forkserver as server
    forkserver.context()
    maps = Path(f"/proc/{server._forkserver._forkserver_pid}/maps")
    while "libtorch" not in maps.read_text():  # the import takes seconds more
        pass
else:
    from tests.harness.runs.test_processes import ProcessPool, endless, jobs
    pool = ProcessPool(2, run=endless)
    for job in jobs(folder, 1, 2):
        pool.submit(job)
    import time
    while len(list(folder.glob("pid*"))) < 2:
        time.sleep(0.02)
    if sys.argv[2] == "stopped":
        for path in folder.glob("pid*"):
            os.kill(int(path.name[3:]), signal.SIGSTOP)
from multiprocessing import forkserver as server, resource_tracker as tracker
print(server._forkserver._forkserver_pid, tracker._resource_tracker._pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux has them")
@pytest.mark.parametrize("moment", ["starting", "stopped"])
def test_nothing_is_left_of_a_killed_process(tmp_path: Path, moment: str) -> None:
    """Nor where the server still imports, or the workers are stopped and can do nothing."""
    root = Path(__file__).resolve().parents[3]
    printed = tmp_path / "printed"
    with printed.open("wb") as file:  # not a pipe, whose end is that of all who hold it
        process = subprocess.Popen(
            [sys.executable, "-c", DOOMED, str(tmp_path), moment],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=file,
        )
    assert process.wait(timeout=120) == -signal.SIGKILL
    pids = [int(word) for word in printed.read_text().split()]
    pids += [int(path.name[3:]) for path in tmp_path.glob("pid*")]
    assert len(pids) == (2 if moment == "starting" else 4)
    deadline = time.monotonic() + 2
    while (left := [pid for pid in pids if living(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def living(pid: int) -> bool:
    """Whether a process is there, and no zombie whose parent has not looked yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="counts handles as Linux shows them")
def test_pools_leave_no_handles_and_no_threads(tmp_path: Path) -> None:
    def holds() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def use(seed: int) -> None:
        pool = ProcessPool(2, run=mortal)
        wanted = jobs(tmp_path, seed, seed + 1, ONCE + seed)  # whose worker dies once
        for job in wanted:
            pool.submit(job)
        assert [pool.result(job) for job in wanted] == [
            Failure(str(job.run.seed), True) for job in wanted
        ]
        pool.close()

    use(10)  # which starts the server of workers, who stays
    time.sleep(1.1)  # the thread that watched looks once a second whether it is needed
    before = holds()
    for seed in (20, 30):
        use(seed)
    time.sleep(1.1)
    assert holds() == before
