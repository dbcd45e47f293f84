"""One run on several processes: the clients of a round are trained at once, to the same bits.

Helpers are forked once a run, after the federation and the model have been made, so that they
import and load nothing and share all memory that nobody writes to. Each process takes the next
client from one queue (largest expected work first), trains it from the global model in shared
memory on one thread, and leaves the update in a row of a shared matrix. A client's result
depends on no other client, so that it does not matter who trained it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import torch

from fedcore.engine.evaluation import Score, summarise, test_batches
from fedcore.engine.shared import shared_zeros
from fedcore.engine.witness import scored
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.lifeline import WORKER_TIMEOUT, end_with_parent

if TYPE_CHECKING:
    from fedcore.data.dataset import Split
    from fedcore.engine.sequential import SequentialEngine
    from fedcore.federation.federation import Federation

# round, row, client; SCORE in the place of the round: row is a batch of the exam `client`
_TASK = struct.Struct("<iii")
_SCORE = -1

_Task = tuple[int, int, int]


def can_fork() -> bool:
    """Whether helpers can be forked here: a POSIX system other than macOS, and no CUDA.

    After a fork CUDA cannot be used, not even by autograd's look at what devices there are;
    macOS's own libraries do not survive one.
    """
    return hasattr(os, "fork") and sys.platform != "darwin" and not torch.cuda.is_available()


def require_fork(device: torch.device) -> None:
    """FedcoreError where a run on ``device`` cannot be split over processes."""
    if device.type != "cpu" or not can_fork():
        raise FedcoreError(
            f"processes > 1 needs the CPU of a machine that can fork and has no CUDA device, got "
            f"{device.type} on {sys.platform}: leave processes at 1"
        )


class HelperLost(FedcoreError):
    """A process that trained clients was ended from outside, or hangs; its run can be repeated."""


class ParallelEngine:
    """``engine`` on ``processes`` processes, this one included.

    ``engine`` must have been made with `shared_zeros`. Raises, and ends the helpers: in `train`
    and `evaluate` what a helper raised, with its traceback as a note; HelperLost where a helper
    was killed, or where this process has nothing left to do and hears of none for ``patience``
    seconds.
    """

    trains_privately = follows_rules = True  # as its engine does

    def __init__(
        self, engine: SequentialEngine, processes: int, patience: float = WORKER_TIMEOUT
    ) -> None:
        self.engine = engine
        self.patience = patience
        self.layout = engine.layout
        federation = engine.federation
        self._exams = [_Exam(federation.test, federation)]
        if federation.probed is not None:
            self._exams.append(_Exam(federation.probed, federation, probe=True))
        initial = engine.initial_state()
        told = Memory(engine.told)  # shared, as all that the engine has allocated
        self._state = ServerState(
            _shared_copy(initial.vector), _shared_copy(initial.counters), told
        )
        self._queue, self._helpers_end = socket.socketpair()
        self._helpers: dict[Connection, multiprocessing.process.BaseProcess] = {}
        try:
            for _ in range(processes - 1):
                self._fork()
        except BaseException:
            self.close()
            raise

    def initial_state(self) -> ServerState:
        """The global model before round 1."""
        return self.engine.initial_state()

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``. The cohort's tensors are valid until the next call."""
        federation = self.engine.federation
        work = [federation.steps_of(c, round) for c in clients]
        rows = sorted(range(len(clients)), key=lambda row: -work[row])
        self._share(state, [(round, row, clients[row]) for row in rows])
        self.engine.scored.note(round, clients)  # the audit of a helper's draw is in the helper
        return self.engine.cohort(clients, round)

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set, and on the probe set where there is one."""
        exams = enumerate(self._exams)
        tasks = [(_SCORE, row, number) for number, e in exams for row in range(len(e.batches))]
        self._share(state, tasks)
        score = self._exams[0].score(self.engine, self.engine.federation.success_classes)
        if len(self._exams) == 1:
            return score
        found = self._exams[1].score(self.engine, None)
        return replace(score, asr=found.accuracy, probed=found.seen)

    def close(self) -> None:
        """End the helpers, whatever they are doing."""
        for process in self._helpers.values():
            process.kill()  # they hold nothing that needs an orderly end
        for link, process in self._helpers.items():
            process.join()
            process.close()
            link.close()
        self._helpers.clear()
        self._queue.close()
        self._helpers_end.close()

    def _share(self, state: ServerState, tasks: Sequence[_Task]) -> None:
        """Do ``tasks`` together with the helpers; returns when all are done."""
        self._state.vector.copy_(state.vector)
        self._state.counters.copy_(state.counters)
        for name, tensor in self._state.memory.items():
            if name in state.memory:
                tensor.copy_(state.memory[name])
        try:
            self._queue.sendall(b"".join(_TASK.pack(*task) for task in tasks))
            left = len(tasks)
            while (task := self._next()) is not None:
                self._do(task)
                left -= 1
            while left:
                for link in self._ready():
                    self._hear(link)
                    left -= 1
        except BaseException:
            self.close()
            raise

    def _next(self) -> _Task | None:
        """The next task of the queue, None if there is none left."""
        try:
            word = self._helpers_end.recv(_TASK.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return _TASK.unpack(word) if word else None

    def _ready(self) -> list[Connection]:
        """The helpers that have something to say, waiting for one."""
        silence, links = 0.0, list(self._helpers)
        while silence < self.patience:
            slice, begun = min(1.0, self.patience / 4), time.monotonic()
            if ready := wait(links, slice):
                return ready  # type: ignore[return-value]
            if time.monotonic() - begun < slice + 1:  # else all were stopped, as by Ctrl-Z
                silence += slice
        pids = ", ".join(str(process.pid) for process in self._helpers.values())
        raise HelperLost(
            f"none of the processes that train clients (process ids {pids}) has given a sign of "
            f"life for {self.patience:g} s, so they were ended: raise --worker-timeout if one "
            "client may take that long"
        )

    def _hear(self, link: Connection) -> None:
        """Take a helper's word that a task is done, or raise what stopped it."""
        try:
            message = link.recv_bytes()
        except EOFError:
            process = self._helpers[link]
            process.join()
            raise HelperLost(
                f"a process that trains clients was ended from outside (exit code "
                f"{process.exitcode}; -9 is often the system, out of memory): run again with "
                "fewer processes"
            ) from None
        if message:
            raise pickle.loads(message)

    def _do(self, task: _Task) -> None:
        round, row, client = task
        if round == _SCORE:
            self._exams[client].take(self.engine, self._state, row)
        else:
            self.engine.train_client(self._state, round, row, client)

    def _fork(self) -> None:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=self._serve, args=(there, os.getpid()), daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns of threads, meaning OpenBLAS's idle ones: they are made for it
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        there.close()
        self._helpers[here] = process

    def _serve(self, link: Connection, parent: int) -> None:
        """The life of a helper: tasks until the parent is gone."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who decides
        end_with_parent(parent)
        # a forked process has none of its parent's OpenMP threads, and would wait for them for ever
        torch.set_num_threads(1)
        self._queue.close()  # so that the queue ends with the parent
        done = 0  # tasks whose end has not been told
        with contextlib.suppress(BrokenPipeError):
            while True:
                try:
                    task = self._next() if done else None
                    if task is None:
                        self.engine.settle()
                        for _ in range(done):
                            link.send_bytes(b"")
                        done = 0
                        if not (word := self._helpers_end.recv(_TASK.size)):
                            return
                        task = _TASK.unpack(word)
                    self._do(task)
                    done += 1
                except BrokenPipeError:
                    raise
                except Exception as error:
                    link.send_bytes(_packed(error))
                    return


class _Exam:
    """A split that models are scored on, batch by batch; the results are shared by processes."""

    def __init__(self, split: Split, federation: Federation, *, probe: bool = False) -> None:
        self.split, self.probe = split, probe
        self.batches = test_batches(split, federation.transform)
        classes, count = federation.dataset.num_classes, len(self.batches)
        self._losses = shared_zeros((count,), dtype=torch.float64)
        self._confusion = shared_zeros((count, classes, classes), dtype=torch.int64)
        self._marks = shared_zeros((len(split),), dtype=torch.float32)
        self._labels = shared_zeros((len(split),), dtype=torch.int64)

    def take(self, engine: SequentialEngine, state: ServerState, row: int) -> None:
        """Score ``state`` on one batch."""
        eye = engine.witness.eye(self.probe)
        batch = self.batches[row]
        loss, confusion = engine.score(state, self.split, batch, eye)
        self._marks[batch], self._labels[batch] = eye.noted()
        self._losses[row] = loss
        self._confusion[row] = confusion

    def score(self, engine: SequentialEngine, success_classes: tuple[int, int] | None) -> Score:
        """The score of all batches."""
        loss = 0.0
        for value in self._losses.tolist():  # in order, and not by sum(), which compensates
            loss += value
        score = summarise(self._confusion.sum(0), loss, success_classes)
        known = engine.witness.eye(self.probe).known
        return replace(score, seen=scored(known, self._marks.numpy(), self._labels.numpy()))


def _shared_copy(tensor: torch.Tensor) -> torch.Tensor:
    return shared_zeros(tuple(tensor.shape), dtype=tensor.dtype).copy_(tensor)


def _packed(error: Exception) -> bytes:
    """``error`` as bytes, its traceback in a note; its type is lost where it does not travel."""
    error.add_note(f"in a helper process:\n{traceback.format_exc()}")
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
        return packed
    except Exception:
        return pickle.dumps(FedcoreError(f"{type(error).__name__}: {error}"))
