"""Worker processes: one CPU thread each, forked from a server that has torch imported once."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fedcore.harness.runs.imports import Parcel
from fedcore.harness.runs.job import Failure, Job, deliver, execute, packed
from fedcore.records.record import Record

Result = Record | Failure


class News:
    """Jobs whose futures have a result, in the order in which they got it."""

    def __init__(self) -> None:
        self._done: deque[Job] = deque()

    def of(self, job: Job, future: Future[Result]) -> Future[Result]:
        """``future``, whose result will be noted; not that its pool broke, or was closed."""

        def note(done: Future[Result]) -> None:
            if not done.cancelled() and not _is_broken(done):
                self._done.append(job)

        future.add_done_callback(note)
        return future

    def take(self) -> list[Job]:
        """The jobs since the last call; another thread may add to them meanwhile."""
        return [self._done.popleft() for _ in range(len(self._done))]


class ProcessPool:
    """Runs jobs in ``workers`` processes; with one worker, in this process when asked for.

    A worker that dies (out of memory, killed) takes the pool with it. The jobs that may have been
    running are then made again, each alone, and one that ends its worker twice more is reported as
    a `Failure`; the others go into a new pool. ``run`` does a job, in the worker's process.
    """

    def __init__(self, workers: int, run: Callable[[Job], Result] = execute) -> None:
        self.workers = workers
        self.run = run
        self._executor: ProcessPoolExecutor | None = None
        self._futures: dict[Job, Future[Result]] = {}
        self._news = News()

    def submit(self, job: Job) -> None:
        """Queue ``job``; a second time changes nothing."""
        if job in self._futures:
            return
        if self.workers == 1:
            self._futures[job] = self._news.of(job, Future())  # made when its result is asked for
        else:
            self._enter(job)

    def done(self, job: Job) -> bool:
        """Whether the result of ``job`` is there."""
        return self._futures[job].done()

    def news(self) -> list[Job]:
        """The jobs that have been done since the last call."""
        return self._news.take()

    def result(self, job: Job, timeout: float | None = None) -> Result:
        """The result of a submitted ``job``; TimeoutError after ``timeout`` seconds."""
        future = self._futures[job]
        if self.workers == 1:
            if not future.done():
                future.set_result(self.run(job))
            return future.result()
        try:
            return future.result(timeout)
        except BrokenProcessPool:
            self._recover()
            return self.result(job, timeout)

    def _enter(self, job: Job) -> None:
        parcel = packed(job)
        if isinstance(parcel, Failure):
            self._futures[job] = self._news.of(job, Future())
            self._futures[job].set_result(parcel)
            return
        try:
            future = self._start().submit(deliver, self.run, parcel)
        except BrokenProcessPool:
            self._recover()
            future = self._start().submit(deliver, self.run, parcel)
        self._futures[job] = self._news.of(job, future)

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = _executor(self.workers)
        return self._executor

    def _recover(self) -> None:
        broken, self._executor = self._executor, None
        if broken is not None:
            broken.shutdown(wait=True)  # until each of its futures has its exception
        unfinished = [job for job, future in self._futures.items() if _is_broken(future)]
        # jobs start in the order in which they came, so any that was running is among the first
        for job in unfinished[: self.workers]:
            self._futures[job] = self._news.of(job, Future())
            self._futures[job].set_result(self._alone(job))
        for job in unfinished[self.workers :]:
            if _is_broken(self._futures[job]):  # else the new pool broke and was replaced
                self._enter(job)

    def _alone(self, job: Job) -> Result:
        parcel = packed(job)
        assert isinstance(parcel, Parcel), "it has been packed before"
        # twice: a suspect may never have started before, or have died of what ran beside it
        for _ in range(2):
            with _executor(1) as executor, contextlib.suppress(BrokenProcessPool):
                return executor.submit(deliver, self.run, parcel).result()
        message = f"the worker process died during {job.run.id}, again alone (out of memory?)"
        return Failure(message, expected=False)

    def close(self) -> None:
        """Drop queued jobs and end the workers; running jobs end first, their records are kept.

        A Ctrl-C in the meantime ends them at once.
        """
        executor, self._executor = self._executor, None
        if executor is None:
            return
        processes = list((executor._processes or {}).values())
        try:
            executor.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            for process in processes:
                process.terminate()
            raise


def _is_broken(future: Future[Result]) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


def _executor(workers: int) -> ProcessPoolExecutor:
    # forkserver: children start from one clean process with torch imported and no threads
    forkserver = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload(["fedcore.harness.runs.job"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the first decides, see `ProcessPool.close`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
