"""Signs of life of the tasks of a Ray cluster: an actor hears them, the pool asks it."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.harness.runs import pulse

#: Seconds that another machine may take to end a process of its own.
_KILL_SECONDS = 60.0


@dataclass(frozen=True)
class Place:
    """A process: its id, the node of the cluster, and the machine, as `machine` names it."""

    node: str
    machine: str
    pid: int


class StuckError(Exception):
    """A task that gives no sign of life, and whose process cannot be ended."""


class Pulses:
    """The actor. When each task was heard last, on this process's clock, and where it runs."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, Place]] = {}

    def beat(self, key: str, place: Place) -> None:
        """Note that task ``key`` lives, at ``place``."""
        self._heard[key] = time.monotonic(), place

    def silence(self, key: str) -> tuple[float, Place] | None:
        """(seconds since task ``key`` was heard, its place); None before it began."""
        if key not in self._heard:
            return None
        heard, place = self._heard[key]
        return time.monotonic() - heard, place

    def forget(self, key: str) -> None:
        """Task ``key`` has ended."""
        self._heard.pop(key, None)


def beat_to(ray: Any, pulses: Any, key: str) -> None:
    """Have this process, a worker of ``ray``, tell the actor ``pulses`` of each sign of life."""
    place = Place(ray.get_runtime_context().get_node_id(), machine(), os.getpid())
    pulse.listen(lambda: pulses.beat.remote(key, place))
    pulse.beat()


class Watch:
    """Waits for tasks, and ends the process of one that gives no sign of life."""

    def __init__(self, ray: Any, patience: float) -> None:
        self._ray, self.patience = ray, patience
        self.pulses = ray.remote(num_cpus=0)(Pulses).remote()

    def await_(self, reference: Any, key: str, stopped: Callable[[], bool]) -> Any:
        """What the task of ``reference`` returns; raises as ray.get does.

        A task that is silent for ``patience`` seconds raises TimeoutError, once its process has
        been ended, or StuckError; so does any when ``stopped`` says so.
        """
        ray = self._ray
        step = min(1.0, self.patience / 4)
        before = time.monotonic()
        paused = 0.0  # seconds in which this process was stopped, and perhaps all others
        try:
            while not ray.wait([reference], timeout=step)[0]:
                now = time.monotonic()
                if now - before > step + 5:
                    paused = now
                before = now
                if stopped():
                    raise TimeoutError("the session has ended")
                seen = ray.get(self.pulses.silence.remote(key))
                if seen is None or min(seen[0], now - paused) <= self.patience:
                    continue
                self._kill(seen[1])
                raise TimeoutError(
                    f"gave no sign of life for {self.patience:g} s and was ended (process "
                    f"{seen[1].pid})"
                )
            return ray.get(reference)
        finally:
            self.pulses.forget.remote(key)

    def _kill(self, place: Place) -> None:
        """Kill a process that is perhaps stopped, and answers nobody. StuckError if it lives on.

        On another machine a task does that; it needs no CPU of the cluster.
        """
        if place.machine == machine():
            with contextlib.suppress(ProcessLookupError):
                _kill_here(place.pid)
            return
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self._ray.remote(num_cpus=0, max_retries=0)(_kill_here)
        placed = task.options(scheduling_strategy=affinity(node_id=place.node, soft=False))
        try:
            self._ray.get(placed.remote(place.pid), timeout=_KILL_SECONDS)
        except self._ray.exceptions.RayError as error:
            raise StuckError(
                f"gave no sign of life for {self.patience:g} s, and process {place.pid} of node "
                f"{place.node} could not be ended ({type(error).__name__})"
            ) from error


def machine() -> str:
    """What two processes share if one can send the other a signal by its id."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return platform.node()


def _kill_here(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
