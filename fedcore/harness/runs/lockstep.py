"""The pool of a GPU: no processes, but all queued jobs in lockstep, as one large network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fedcore.harness.runs.job import Job, execute_many
from fedcore.harness.runs.worker import Result

Events = Iterator[tuple[Job, Result] | None]


class LockstepPool:
    """As `ProcessPool` with one worker: it computes while a result is asked for.

    The first such call takes all jobs queued by then; what is queued later waits for these.
    """

    def __init__(self, run: Callable[[Sequence[Job]], Events] = execute_many) -> None:
        self.run = run
        self.workers = 1
        self._waiting: dict[Job, None] = {}
        self._results: dict[Job, Result] = {}
        self._news: list[Job] = []
        self._taken: set[Job] = set()
        self._events: Events = iter(())

    def submit(self, job: Job) -> None:
        """Queue ``job``; a second time changes nothing."""
        if job not in self._taken:
            self._waiting[job] = None

    def done(self, job: Job) -> bool:
        """Whether the result of ``job`` is there."""
        return job in self._results

    def news(self) -> list[Job]:
        """The jobs that have been done since the last call."""
        news, self._news = self._news, []
        return news

    def result(self, job: Job, timeout: float | None = None) -> Result:
        """The result of a submitted ``job``; TimeoutError at the first chance after ``timeout``."""
        begun = time.monotonic()
        while job not in self._results:
            for event in self._events:
                if event is not None:
                    self._results[event[0]] = event[1]
                    self._news.append(event[0])
                if timeout is not None and time.monotonic() - begun > timeout:
                    break
                if job in self._results:
                    break
            else:
                self._take()
            if timeout is not None and time.monotonic() - begun > timeout and not self.done(job):
                raise TimeoutError
        return self._results[job]

    def _take(self) -> None:
        jobs = list(self._waiting)
        self._waiting.clear()
        self._taken.update(jobs)
        self._events = self.run(jobs)

    def close(self) -> None:
        """Drop what is not made."""
        self._waiting.clear()
        self._events = iter(())

    def incidents(self) -> list[str]:
        """Nothing: there is no other process to lose."""
        return []

    def abandon(self) -> list[Job]:
        """As `close`; the jobs that had begun and are lost."""
        lost = [job for job in self._taken if job not in self._results]
        self.close()
        return lost
