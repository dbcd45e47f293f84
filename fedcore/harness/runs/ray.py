"""Worker tasks on a Ray cluster, of one machine or more: the interface of `ProcessPool`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import platform
import socket
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fedcore import ray_cluster
from fedcore.data.loading import data_directory
from fedcore.errors import FedcoreError
from fedcore.harness.runs.imports import Parcel
from fedcore.harness.runs.job import Failure, Job, execute, packed
from fedcore.harness.runs.processes import RUN_ATTEMPTS, News, loss, lost
from fedcore.harness.runs.ray_watch import StuckError, Watch, beat_to
from fedcore.lifeline import WORKER_TIMEOUT
from fedcore.ray_cluster import RayError, local_cluster, prepare_environment, within
from fedcore.records.inputs import inputs_of
from fedcore.records.record import Record
from fedcore.records.store import Inputs, UnwrittenError

Result = Record | Failure

#: Seconds to wait for a cluster to answer.
ANSWER_SECONDS = 10.0


class RayPool:
    """Runs jobs as Ray tasks of one CPU each, at most ``workers`` at a time.

    ``address`` is that of a running cluster (``host:port``, ``auto`` or ``ray://host:port``); None
    starts one on this machine, on loopback, and ends it with `close`. ``workers`` None takes every
    CPU that the cluster has now.

    Records come back by value and are stored here, so that the nodes share no file system. A node
    reads data and weights in ``job.data_dir`` where it has that directory, else where its own
    $FEDCORE_DATA points. One whose data, weights or code differ from this machine's refuses: its
    records would be filed under another's name. A record made on another class of machine is
    stored under that class. A task that dies, or whose process gives no sign of life for
    ``patience`` seconds and is ended, is made once more.

    Raises RayError where Ray is missing or the cluster does not answer.
    """

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        run: Callable[[Job], Result] = execute,
        patience: float = WORKER_TIMEOUT,
    ) -> None:
        self.run = run
        self.patience = patience
        self._futures: dict[Job, Future[Result]] = {}
        self._news = News()
        self._incidents: deque[str] = deque()
        self._references: dict[Job, Any] = {}  # of the tasks that have been handed to the cluster
        self._abandoned = False
        with contextlib.ExitStack() as undo:
            self._ray = _connect(address, workers, undo)
            cpus = int(self._ray.cluster_resources().get("CPU", 0))
            if cpus < 1:
                raise RayError(f"the Ray cluster {address} has no CPUs: add a node that has some")
            self.workers = min(workers or cpus, cpus)
            self._task = self._ray.remote(num_cpus=1, max_retries=0)(deliver_on_node)
            self._watch = Watch(self._ray, patience)
            self._disconnect = undo.pop_all()
        # each thread waits for one task, so that what is queued here can be dropped
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="fedcore-ray")

    def submit(self, job: Job) -> None:
        """Queue ``job``; a second time changes nothing."""
        if job not in self._futures:
            self._futures[job] = self._news.of(job, self._threads.submit(self._make, job))

    def done(self, job: Job) -> bool:
        """Whether the result of ``job`` is there."""
        return self._futures[job].done()

    def news(self) -> list[Job]:
        """The jobs that have been done since the last call."""
        return self._news.take()

    def result(self, job: Job, timeout: float | None = None) -> Result:
        """The result of a submitted ``job``; TimeoutError after ``timeout`` seconds."""
        return self._futures[job].result(timeout)

    def close(self) -> None:
        """Drop queued jobs and leave the cluster; running jobs end first, their records are kept.

        A Ctrl-C in the meantime ends them at once.
        """
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            self.abandon()
            return
        with self._disconnect:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def incidents(self) -> list[str]:
        """A line for each worker that was lost since the last call."""
        return [self._incidents.popleft() for _ in range(len(self._incidents))]

    def abandon(self) -> list[Job]:
        """Leave the cluster at once; the jobs that were being done, which are lost."""
        lost = [job for job, future in self._futures.items() if future.running()]
        self._abandoned = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for reference in list(self._references.values()):
            with contextlib.suppress(Exception):  # of a cluster that has gone
                self._ray.cancel(reference, force=True)
        self._disconnect.close()
        return lost

    def _make(self, job: Job) -> Result:
        errors = self._ray.exceptions
        gone = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        losses: list[str] = []
        parcel = packed(job)
        if isinstance(parcel, Failure):
            return parcel
        for attempt in range(RUN_ATTEMPTS):
            key = f"{attempt} {job.run.id}"
            reference = self._task.remote(self.run, parcel, self._watch.pulses, key)
            self._references[job] = reference
            try:
                reply = self._watch.await_(reference, key, lambda: self._abandoned)
            except StuckError as stuck:  # it keeps its CPU: another try might wait for ever
                return Failure(f"the worker process of {job.run.id} {stuck}", expected=False)
            except TimeoutError as silence:
                losses.append(str(silence))
            except (*gone, errors.ObjectLostError) as error:
                losses.append(f"died ({type(error).__name__}; out of memory?)")
            except errors.RayError as error:  # such as: fedcore is not installed on that node
                return Failure(f"{job.run.id} could not run on the Ray cluster: {error}", False)
            else:
                return _stored(job, *reply)
            finally:
                del self._references[job]
            if self._abandoned:
                break
            if attempt + 1 < RUN_ATTEMPTS:
                self._incidents.append(loss(job, losses[-1]))
        return lost(job, losses)


def _stored(job: Job, inputs: Inputs | None, result: Result) -> Result:
    if isinstance(result, Record) and job.store is not None and inputs is not None:
        try:
            job.store.put(job.run, inputs, result)
        except UnwrittenError:
            return result  # see `fedcore.harness.runs.job`
        except FedcoreError as error:
            return Failure(f"{type(error).__name__}: {error}", expected=True)
    return result


def deliver_on_node(
    run: Callable[[Job], Result], parcel: Parcel[Job], pulses: Any, key: str
) -> tuple[Inputs | None, Result]:
    """As `on_node`, once this process has imported what reading the packed job needs.

    The actor ``pulses`` hears of each round, under ``key``.
    """
    beat_to(importlib.import_module("ray"), pulses, key)
    try:
        job = parcel.open()
    except FedcoreError as error:
        return None, Failure(f"on node {platform.node()}: {error}", expected=True)
    return on_node(run, job)


def on_node(run: Callable[[Job], Result], job: Job) -> tuple[Inputs | None, Result]:
    """Do ``job`` in a Ray worker: what it depended on there, and its result, stored nowhere."""
    if not job.data_dir.is_dir():
        job = dataclasses.replace(job, data_dir=data_directory(None))
    inputs = job.inputs
    if inputs is not None:
        try:
            here = inputs_of(job.run.scenario, job.data_dir, job.execution)
        except FedcoreError as error:
            where = f"on node {platform.node()}: {type(error).__name__}"
            return None, Failure(f"{where}: {error}", expected=True)
        # data set, weights and code make the result another one; the class of machine, with what
        # is compiled and installed there, its last bits
        if here != dataclasses.replace(
            inputs, machine=here.machine, kernels=here.kernels, versions=here.versions
        ):
            return None, Failure(_refusal(inputs, here), expected=True)
        inputs = here
    return inputs, run(dataclasses.replace(job, inputs=None, store=None))


def _refusal(wanted: Inputs, here: Inputs) -> str:
    compared = ("data", "weights", "code", "foreign", "engine")
    names = [name for name in compared if getattr(wanted, name) != getattr(here, name)]
    pairs = ", ".join(f"{n} {getattr(here, n)}, not {getattr(wanted, n)}" for n in names)
    return (
        f"node {platform.node()} has other {' and '.join(names)} than the machine that planned the "
        f"run ({pairs}): install the same fedcore and put the same files there"
    )


def _connect(address: str | None, workers: int | None, undo: contextlib.ExitStack) -> Any:
    """The module ray, connected; ``undo`` ends the connection."""
    prepare_environment(local=address is None)
    if address is not None:
        _check_reachable(address)
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise RayError(
            f"--executor ray needs Ray ({error}): install it with "
            'pip install -c constraints.txt -e ".[flower]"'
        ) from error
    if ray.is_initialized():
        raise RayError("this process uses Ray already: end that with ray.shutdown() first")
    if address is None:
        address = undo.enter_context(local_cluster(workers))
    else:
        _check_answer(address)
    undo.callback(_quietly, ray.shutdown)
    try:
        connect = functools.partial(
            ray.init, address=address, log_to_driver=False, logging_level="ERROR"
        )
        _quietly(lambda: within(ray_cluster.START_SECONDS, connect))
    except Exception as error:  # Ray raises bare Exception, ConnectionError, RuntimeError
        raise RayError(f"no Ray cluster at {address}: {error}") from error
    return ray


def _quietly(call: Callable[[], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves log files open
        call()


def _check_reachable(address: str) -> None:
    """RayError unless something listens at ``address``; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise RayError(f"--ray-address must be HOST:PORT, ray://HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise RayError(
            f"no Ray cluster at {address} ({error.strerror or error}): start one with "
            "ray start --head, or name another with --ray-address"
        ) from error


def _check_answer(address: str) -> None:
    """RayError unless a cluster answers; in a process of its own, as Ray knows no time limit."""
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * ANSWER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RayError(
            f"what listens at {address} did not answer as a Ray cluster within "
            f"{error.timeout:.0f} s: start one with ray start --head, or name another with "
            "--ray-address"
        ) from None
    if done.returncode:
        last = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
        raise RayError(f"no Ray cluster at {address}: {last}")


_PROBE = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
"""
