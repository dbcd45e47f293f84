"""Signs of life of the tasks of a Ray cluster: an actor hears them, the pool asks it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from fedcore.harness.runs import pulse


class Pulses:
    """The actor. When each task was heard last, on this process's clock, and where it runs."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, str, int]] = {}

    def beat(self, key: str, node: str, pid: int) -> None:
        """Note that task ``key`` lives, in process ``pid`` of ``node``."""
        self._heard[key] = time.monotonic(), node, pid

    def silence(self, key: str) -> tuple[float, str, int] | None:
        """(seconds since task ``key`` was heard, its node, its process); None before it began."""
        if key not in self._heard:
            return None
        heard, node, pid = self._heard[key]
        return time.monotonic() - heard, node, pid

    def forget(self, key: str) -> None:
        """Task ``key`` has ended."""
        self._heard.pop(key, None)


def beat_to(ray: Any, pulses: Any, key: str) -> None:
    """Have this process, a worker of ``ray``, tell the actor ``pulses`` of each sign of life."""
    node, pid = ray.get_runtime_context().get_node_id(), os.getpid()
    pulse.listen(lambda: pulses.beat.remote(key, node, pid))
    pulse.beat()


class Watch:
    """Waits for tasks, and ends the process of one that gives no sign of life."""

    def __init__(self, ray: Any, patience: float) -> None:
        self._ray, self.patience = ray, patience
        self.pulses = ray.remote(num_cpus=0)(Pulses).remote()

    def await_(self, reference: Any, key: str, stopped: Callable[[], bool]) -> Any:
        """What the task of ``reference`` returns; raises as ray.get does.

        A task that is silent for ``patience`` seconds raises TimeoutError, once its process has
        been ended; so does any when ``stopped`` says so.
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
                _, node, pid = seen
                self._kill(node, pid)
                raise TimeoutError(
                    f"gave no sign of life for {self.patience:g} s and was ended (process {pid})"
                )
            return ray.get(reference)
        finally:
            self.pulses.forget.remote(key)

    def _kill(self, node: str, pid: int) -> None:
        """Kill process ``pid`` from another one on its node: a stopped one answers nobody."""
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self._ray.remote(num_cpus=0, max_retries=0)(_kill_here)
        placed = task.options(scheduling_strategy=affinity(node_id=node, soft=False))
        self._ray.get(placed.remote(pid), timeout=60)


def _kill_here(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
