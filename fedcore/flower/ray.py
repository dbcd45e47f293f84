"""The engine 'flower-ray': Flower's own simulation, its SuperNodes in Ray actors."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from flwr.supercore.run import Run

from fedcore.cores import cores
from fedcore.engine.flower_engines import kept_until
from fedcore.errors import FedcoreError
from fedcore.flower.client_app import app
from fedcore.flower.engine import GridEngine
from fedcore.flower.local import quiet, task_of
from fedcore.ray_cluster import local_cluster, prepare_environment

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution
    from fedcore.federation.federation import Federation

_START = 115.0  # seconds until a node of the simulation answers, attempts at a cluster included
_POLL = 0.02  # seconds between looks for replies


class Simulation:
    """A simulation of ``clients`` SuperNodes in the background; ``grid`` speaks with them.

    Flower's simulation wants to call the ServerApp. Here that only hands its grid over and waits,
    so that the round loop stays where it is for every other engine.
    """

    def __init__(self, app: ClientApp, clients: int, workers: int) -> None:
        self.clients = clients
        self._grids: queue.Queue[Grid] = queue.Queue()
        self._over = threading.Event()
        self._error: BaseException | None = None
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        # not in the thread: what is imported first depends on who starts it
        prepare_environment(local=True)
        self._thread = threading.Thread(
            target=self._run, args=(app, clients, workers), name="flower-simulation", daemon=True
        )
        self._thread.start()
        begun = time.monotonic()
        self.grid: Grid = _WatchedGrid(self._wait(), self)
        self._require_answer(_START - (time.monotonic() - begun))

    def _run(self, app: ClientApp, clients: int, workers: int) -> None:
        server = ServerApp()

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            self._grids.put(grid)
            self._over.wait()

        try:
            # Flower would start Ray in this process, without a time limit and on every interface
            with local_cluster(workers) as address:
                run_simulation(
                    server,
                    app,
                    num_supernodes=clients,
                    backend_config={
                        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                        "init_args": {
                            "address": address,
                            "log_to_driver": False,
                            "logging_level": "ERROR",
                        },
                    },
                )
        except BaseException as error:  # told to the thread that waits for the grid
            self._error = error

    def _wait(self) -> Grid:
        for _ in range(int(_START * 10)):
            try:
                return self._grids.get(timeout=0.1)
            except queue.Empty:
                if not self._thread.is_alive():
                    break
        self._over.set()
        raise FedcoreError(
            f"Flower's simulation did not start: {self._error or 'it took too long'}"
        )

    def _require_answer(self, seconds: float) -> None:
        """FedcoreError unless a node answers: Ray's actors start after the ServerApp."""
        node = next(iter(self.grid.get_node_ids()))
        question = Message(RecordDict(), node, MessageType.QUERY)
        if not list(self.grid.send_and_receive([question], timeout=max(seconds, 1.0))):
            self._over.set()
            raise FedcoreError(
                f"Flower's simulation did not start: no node answered within {_START:g} s"
            )

    def require_alive(self) -> None:
        """FedcoreError where the simulation has ended: nobody would ever answer."""
        if not self._thread.is_alive():
            cause = self._error.__cause__ if self._error is not None else None
            raise FedcoreError(f"Flower's simulation has ended: {cause or self._error}")

    def close(self) -> None:
        """End the simulation and its actors."""
        self._over.set()
        self._thread.join(timeout=60)


class _WatchedGrid(Grid):  # type: ignore[misc]
    """The simulation's grid, which does not wait for the replies of a simulation that has ended."""

    def __init__(self, grid: Grid, simulation: Simulation) -> None:
        self._grid, self._simulation = grid, simulation

    def set_run(self, run: Run) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, once they are there: Flower makes them after it has called the ServerApp."""
        while len(found := list(self._grid.get_node_ids())) < self._simulation.clients:
            self._simulation.require_alive()
            time.sleep(_POLL)
        return found

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return list(self._grid.push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return list(self._grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        waiting = set(self.push_messages(messages))
        end = None if timeout is None else time.monotonic() + timeout
        found: list[Message] = []
        while waiting and (end is None or time.monotonic() < end):
            replies = list(self.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in replies}
            found += replies
            self._simulation.require_alive()
            if waiting:
                time.sleep(_POLL)
        return found


_running: dict[tuple[int, int], Simulation] = {}


def simulation_of(clients: int, workers: int) -> Simulation:
    """A running simulation of this size; Ray runs once in a process, so another one is ended."""
    key = (clients, workers)
    if key not in _running:
        end_simulation()
        _running[key] = Simulation(app, clients, workers)
    return _running[key]


def end_simulation() -> None:
    """End the simulation that is running, if there is one."""
    for key in list(_running):
        _running.pop(key).close()


def _after_a_run() -> None:
    if not kept_until(end_simulation):
        end_simulation()


def engine(federation: Federation, execution: Execution) -> GridEngine:
    """The engine 'flower-ray'."""
    quiet()
    scenario = federation.scenario
    workers = execution.processes if execution.processes > 1 else cores()
    simulation = simulation_of(scenario.num_clients, min(workers, scenario.cohort_size))
    task = task_of(federation, execution)
    try:
        return GridEngine(federation, task, simulation.grid, on_close=_after_a_run)
    except BaseException:
        _after_a_run()
        raise
