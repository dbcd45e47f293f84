"""One worker process, seen from both sides: it does one job at a time, and shows that it lives."""

from __future__ import annotations

import contextlib
import multiprocessing.process
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler

from fedcore.harness.runs import forkserver, pulse
from fedcore.harness.runs.imports import Parcel
from fedcore.harness.runs.job import Failure, Job, deliver
from fedcore.lifeline import end_with_parent, follow
from fedcore.records.record import Record

Result = Record | Failure

#: Seconds that a worker may take from its start to its first sign of life: it imports torch.
START_SECONDS = 120.0
_END_SECONDS = 5.0
# multiprocessing keeps its children in one set, which threads must not change at once
_starting = threading.Lock()


class WorkerLost(Exception):
    """A worker ended in the middle of a job; the text says how."""


class Worker:
    """A process that does jobs with ``run``. Used by one thread; `check` and `kill` by any.

    A worker that gives no sign of life for ``patience`` seconds is killed by `check`. A sign is
    each round of a run, and each job's beginning and end.
    """

    def __init__(self, run: Callable[[Job], Result], patience: float) -> None:
        self.patience = patience
        self._limit = max(patience, START_SECONDS)
        self._silent = False  # whether it was killed for that
        self._busy = True  # whether it should give signs of life
        self._heard = time.monotonic()
        with _starting:
            context = forkserver.context()
            self._link, there = context.Pipe()
            self._process: multiprocessing.process.BaseProcess = context.Process(  # type: ignore[attr-defined]
                target=_serve, args=(there, run), name="fedcore-worker"
            )
            try:
                self._process.start()
            finally:
                there.close()

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs; False once it is known to be silent."""
        with _starting:
            return not self._silent and self._process.is_alive()

    def do(self, parcel: Parcel[Job]) -> Result:
        """The result of the packed job; WorkerLost where the process ended before."""
        self._busy, self._heard = True, time.monotonic()
        try:
            self._link.send(parcel)
            while (answer := self._link.recv()) is None:
                self._heard, self._limit = time.monotonic(), self.patience
        except (EOFError, OSError):  # of a broken pipe, too
            raise WorkerLost(self._end()) from None
        finally:
            self._busy = False
        result: Result = answer
        return result

    def check(self, now: float, pause: float = 0.0) -> bool:
        """Kill the process where it has been silent for too long; whether it was, just now.

        ``now`` is of time.monotonic. ``pause`` seconds do not count: this process itself was
        stopped then, and the worker perhaps with it.
        """
        self._heard += pause
        if not self._busy or self._silent or now - self._heard <= self._limit:
            return False
        self._silent = True
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the process, whatever it does; nothing where it has ended."""
        with contextlib.suppress(ValueError):  # its end has been noted
            self._process.kill()

    def close(self) -> None:
        """Let the idle process end, and wait until it has."""
        with contextlib.suppress(OSError):  # it has ended
            self._link.send(None)
        self._process.join(_END_SECONDS)
        self.kill()
        self._end()

    def _end(self) -> str:
        """Wait for the end of a process that ends; in words, how it ended."""
        self._link.close()
        with _starting:
            self._process.join(_END_SECONDS)
            status = self._process.exitcode
            if status is not None:
                self._process.close()
        if self._silent:
            return f"gave no sign of life for {self._limit:g} s and was ended"
        if status is None or status >= 0:
            return f"ended with status {status}"
        name = signal.Signals(-status).name
        return f"was ended by {name}" + ("; out of memory?" if name == "SIGKILL" else "")


def _serve(link: Connection, run: Callable[[Job], Result]) -> None:
    """The life of a worker: jobs until there are no more, or nobody is left who wants them."""
    # Ctrl-C reaches every process of a terminal; the first one decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    parcels: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    follow(link.recv_bytes, parcels.put)
    pulse.listen(lambda: link.send(None))
    while (parcel := ForkingPickler.loads(parcels.get())) is not None:
        pulse.beat()
        result: Result = deliver(run, parcel)
        try:
            link.send(result)
        except BrokenPipeError:  # nobody is left to hear of it, see `follow`
            return
        except Exception:  # what cannot be pickled has not been sent in part
            link.send(Failure(traceback.format_exc(), expected=False))
