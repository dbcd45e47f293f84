"""Worker processes: one CPU thread each, forked from a server that has torch imported once."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

from fedcore.harness.runs import forkserver
from fedcore.harness.runs.job import Failure, Job, execute, packed
from fedcore.harness.runs.worker import Result, Worker, WorkerLost
from fedcore.lifeline import WORKER_TIMEOUT

#: A run that ends its worker this often is a failure.
RUN_ATTEMPTS = 2


class News:
    """Jobs whose futures have a result, in the order in which they got it."""

    def __init__(self) -> None:
        self._done: deque[Job] = deque()

    def of(self, job: Job, future: Future[Result]) -> Future[Result]:
        """``future``, whose result will be noted; not that it was cancelled."""

        def note(done: Future[Result]) -> None:
            if not done.cancelled():
                self._done.append(job)

        future.add_done_callback(note)
        return future

    def take(self) -> list[Job]:
        """The jobs since the last call; another thread may add to them meanwhile."""
        return [self._done.popleft() for _ in range(len(self._done))]


class ProcessPool:
    """Runs jobs in ``workers`` processes; with one worker, in this process when asked for.

    A worker has one job at a time, so that none is lost but those that are being done. One that
    dies (out of memory, killed), or gives no sign of life for ``patience`` seconds and is ended,
    takes no other with it. Its job is made once more, alone, and is a `Failure` if that ends its
    worker again. `incidents` tells of each loss. ``run`` does a job, in the worker's process.

    With one worker nobody watches: a run that hangs then hangs this process.
    """

    def __init__(
        self,
        workers: int,
        run: Callable[[Job], Result] = execute,
        patience: float = WORKER_TIMEOUT,
    ) -> None:
        self.workers = workers
        self.run = run
        self.patience = patience
        self._futures: dict[Job, Future[Result]] = {}
        self._news = News()
        self._incidents: deque[str] = deque()
        self._changed = threading.Condition()  # guards what follows
        self._waiting: deque[Job] = deque()
        self._again: deque[Job] = deque()  # those that a worker was lost with
        self._losses: dict[Job, list[str]] = {}
        self._running: set[Job] = set()
        self._alone = False  # whether what runs was lost before
        self._closed = False
        self._keepers: list[threading.Thread] = []
        self._processes: dict[threading.Thread, Worker] = {}

    def submit(self, job: Job) -> None:
        """Queue ``job``; a second time changes nothing."""
        if job in self._futures:
            return
        self._futures[job] = self._news.of(job, Future())
        if self.workers == 1:
            return  # made when its result is asked for
        if isinstance(parcel := packed(job), Failure):
            self._futures[job].set_result(parcel)
            return
        self._start()
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def done(self, job: Job) -> bool:
        """Whether the result of ``job`` is there."""
        return self._futures[job].done()

    def news(self) -> list[Job]:
        """The jobs that have been done since the last call."""
        return self._news.take()

    def incidents(self) -> list[str]:
        """A line for each worker that was lost since the last call."""
        return [self._incidents.popleft() for _ in range(len(self._incidents))]

    @property
    def running(self) -> list[Job]:
        """The jobs that workers are doing now."""
        with self._changed:
            return list(self._running)

    def result(self, job: Job, timeout: float | None = None) -> Result:
        """The result of a submitted ``job``; TimeoutError after ``timeout`` seconds."""
        future = self._futures[job]
        if self.workers == 1 and not future.done():
            self._running.add(job)  # and stays so where an interrupt ends it
            future.set_result(self.run(job))
            self._running.discard(job)
        return future.result(timeout)

    def _start(self) -> None:
        """Have a thread for each worker, as far as there are jobs."""
        if not self._keepers:
            forkserver.context()  # in this thread, see there
            atexit.register(self.abandon)  # before multiprocessing waits for its processes
            self._closed = False
            threading.Thread(target=self._watch, name="fedcore-watch", daemon=True).start()
        if len(self._keepers) < self.workers:
            keeper = threading.Thread(target=self._keep, name="fedcore-keeper", daemon=True)
            self._keepers.append(keeper)
            keeper.start()

    def _keep(self) -> None:
        """The life of a thread: take jobs, and have a worker of its own do them."""
        me = threading.current_thread()
        while (job := self._next()) is not None:
            try:
                self._do(me, job)
            except Exception:  # a result that cannot be read here, a process that cannot start
                self._settle(job, Failure(traceback.format_exc(), expected=False))
        if (worker := self._processes.pop(me, None)) is not None:
            worker.close()

    def _next(self) -> Job | None:
        """The next job, once it may begin; None where there will be no more."""
        with self._changed:
            while not self._closed:
                # what ended a worker may have used up the memory together with what ran beside it
                if self._again and not self._running:
                    self._alone = True
                    job = self._again.popleft()
                elif self._waiting and not self._again and not self._alone:
                    job = self._waiting.popleft()
                else:
                    self._changed.wait()
                    continue
                self._running.add(job)
                return job
        return None

    def _do(self, me: threading.Thread, job: Job) -> None:
        parcel = packed(job)
        if isinstance(parcel, Failure):  # it was none before
            return self._settle(job, parcel)
        worker = self._processes.get(me)
        if worker is None or not worker.alive:
            worker = self._processes[me] = Worker(self.run, self.patience)
        try:
            if self._closed:  # since this thread took the job
                worker.kill()
            result = worker.do(parcel)
        except WorkerLost as end:
            del self._processes[me]
            self._lost(job, str(end))
        else:
            self._settle(job, result)

    def _lost(self, job: Job, end: str) -> None:
        if self._closed:
            return
        losses = self._losses.setdefault(job, [])
        losses.append(end)
        if len(losses) < RUN_ATTEMPTS:
            self._incidents.append(loss(job, end))
            with self._changed:
                self._running.discard(job)
                self._again.append(job)
                self._changed.notify_all()
            return
        self._settle(job, lost(job, losses))

    def _settle(self, job: Job, result: Result) -> None:
        with self._changed:
            self._running.discard(job)
            self._alone = False
            self._changed.notify_all()
        with contextlib.suppress(InvalidStateError):  # it was cancelled
            self._futures[job].set_result(result)

    def _watch(self) -> None:
        """The life of a thread: end workers that give no sign of life."""
        pause = min(1.0, self.patience / 4)
        before = time.monotonic()
        while not self._closed:
            time.sleep(pause)
            now = time.monotonic()
            # time in which this process was stopped, as by Ctrl-Z, says nothing of the workers
            stopped = now - before - pause
            for worker in list(self._processes.values()):
                worker.check(now, stopped if stopped > 1 else 0.0)
            before = now

    def close(self) -> None:
        """Drop queued jobs and end the workers; running jobs end first, their records are kept.

        A Ctrl-C in the meantime, or one that is being handled, ends them at once.
        """
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            self.abandon()
            return
        try:
            for keeper in self._end():
                keeper.join()
        except BaseException:
            self.abandon()
            raise
        atexit.unregister(self.abandon)
        self._keepers.clear()

    def abandon(self) -> list[Job]:
        """End the workers at once; the jobs that they were doing, which are lost."""
        atexit.unregister(self.abandon)
        keepers, jobs = self._end(), self.running
        for worker in list(self._processes.values()):
            worker.kill()
        for job in jobs:
            self._futures[job].cancel()
        deadline = time.monotonic() + 0.5  # a thread that waits for a process to start is left
        for keeper in keepers:
            keeper.join(max(0.0, deadline - time.monotonic()))
        self._keepers.clear()
        return jobs

    def _end(self) -> list[threading.Thread]:
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *self._again):
                self._futures[job].cancel()
            self._waiting.clear()
            self._again.clear()
            self._changed.notify_all()
            return list(self._keepers)


def loss(job: Job, end: str) -> str:
    """What to say of a worker that ended, as ``end`` says, for the first time with ``job``."""
    return f"a worker {end} during {job.run.id}: that run is made again"


def lost(job: Job, losses: list[str]) -> Failure:
    """The result of ``job``, whose workers ended as ``losses`` say."""
    ways = (
        " and again, on its own, ".join(losses) if len(set(losses)) > 1 else f"{losses[0]}, twice"
    )
    advice = ""
    if any("no sign of life" in end for end in losses):
        advice = ": raise --worker-timeout if a round may take that long"
    elif any("memory" in end for end in losses):
        advice = ": it may need more memory than there is, the second time it ran alone"
    return Failure(f"the worker process of {job.run.id} {ways}{advice}", expected=False)
