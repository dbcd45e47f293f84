"""Worker processes: one CPU thread each, forked from a server that has torch imported once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fedcore.harness.worker import Failure, Job, execute
from fedcore.record import Record

Result = Record | Failure


class Pool:
    """Runs jobs in ``workers`` processes; with one worker, in this process when asked for.

    A worker that dies (out of memory, killed) takes the pool with it: the pool is made anew and
    its unfinished jobs go in again, each at most twice.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._futures: dict[Job, Future[Result]] = {}
        self._crashes: dict[Job, int] = {}

    def submit(self, job: Job) -> None:
        """Queue ``job``; a second time changes nothing."""
        if job in self._futures:
            return
        if self.workers == 1:
            self._futures[job] = Future()  # made when its result is asked for
        else:
            self._futures[job] = self._start().submit(execute, job)

    def done(self, job: Job) -> bool:
        """Whether the result of ``job`` is there."""
        return self._futures[job].done()

    def result(self, job: Job, timeout: float | None = None) -> Result:
        """The result of a submitted ``job``; TimeoutError after ``timeout`` seconds."""
        future = self._futures[job]
        if self.workers == 1:
            if not future.done():
                future.set_result(execute(job))
            return future.result()
        try:
            return future.result(timeout)
        except BrokenProcessPool:
            self._recover()
            crashes = self._crashes[job] = self._crashes.get(job, 0) + 1
            if crashes > 1:
                message = (
                    f"the worker process died twice while running {job.run.id} (out of memory?)"
                )
                return Failure(message, expected=False)
            return self.result(job, timeout)

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # forkserver: children start from one clean process with torch imported and no threads
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context(
                "forkserver" if "forkserver" in methods else "spawn"
            )
            if "forkserver" in methods:
                context.set_forkserver_preload(["fedcore.harness.worker"])
            self._executor = ProcessPoolExecutor(self.workers, mp_context=context)
        return self._executor

    def _recover(self) -> None:
        broken, self._executor = self._executor, None
        if broken is not None:
            broken.shutdown(wait=False, cancel_futures=True)
        for job, future in self._futures.items():
            if future.done() and isinstance(future.exception(), BrokenProcessPool):
                self._futures[job] = self._start().submit(execute, job)

    def close(self) -> None:
        """Drop queued jobs and end the workers; running jobs end first, their records are kept."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
