"""Timing a grid of runs on warm workers, and the rounds of one run, for throughput suites."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fedcore.data.dataset import Dataset
from fedcore.data.loading import data_directory, load
from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.errors import FedcoreError
from fedcore.federation.batches import images_in
from fedcore.federation.federation import Federation
from fedcore.federation.root import trainees
from fedcore.harness.runs.job import Failure, Job
from fedcore.harness.runs.lockstep import LockstepPool
from fedcore.harness.runs.processes import ProcessPool
from fedcore.records.store import Run
from fedcore.scenario import Scenario
from fedcore.simulation.root import split
from fedcore.strategies.aggregation import Aggregation


def clock(device: torch.device) -> Callable[[], float]:
    """The clock of timings on ``device``: torch.utils.benchmark's, which waits for a GPU.

    On a machine with no GPU that is time.perf_counter. For the CPU it is so on any machine: to
    wait for a GPU that has nothing to do would take memory of it.
    """
    if device.type != "cuda":
        return time.perf_counter
    from torch.utils.benchmark.utils.timer import timer

    return timer


class GridTimer:
    """Makes ``runs`` runs of ``scenario`` at a time; nothing is stored.

    On ``workers`` processes (1: in this one), but in this one and in lockstep where ``execution``,
    by default the CPU's, stacks clients.
    """

    def __init__(
        self,
        scenario: Scenario,
        runs: int,
        data_dir: str | None,
        workers: int,
        execution: Execution | None = None,
    ) -> None:
        self.scenario, self.runs = scenario, runs
        self.execution = execution or Execution(device="cpu")
        self.data_dir: Path = data_directory(data_dir)
        self.dataset: Dataset = load(scenario.data, self.data_dir, scenario.image_size)
        self.examples_per_round = 0.0
        lockstep = self.execution.stacks
        self._pool = LockstepPool() if lockstep else ProcessPool(workers)
        self._seed = 0
        first = scenario.but(rounds=1, eval_every=1)
        self._make(runs if lockstep else workers, first)  # imports, data, memory

    def seconds_per_round(self) -> float:
        """Wall time from handing the runs over to the last record, over all rounds made."""
        now = clock(self.execution.torch_device)
        begun = now()
        self._make(self.runs, self.scenario)
        return (now() - begun) / (self.runs * self.scenario.rounds)

    def _make(self, runs: int, scenario: Scenario) -> None:
        jobs = []
        for _ in range(runs):
            run = Run(scenario, self._seed)
            jobs.append(Job(run, None, None, self.data_dir, self.execution))
            self._seed += 1
        for job in jobs:
            self._pool.submit(job)
        examples = 0
        for job in jobs:
            result = self._pool.result(job)
            if isinstance(result, Failure):
                raise FedcoreError(f"{job.run.id}: {result.message}")
            examples += result.examples
        self.examples_per_round = examples / (runs * scenario.rounds)

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


class RoundTimer:
    """Rounds of one run of ``scenario`` with a warm engine: training and aggregation, no scoring.

    Raises FedcoreError where ``execution`` cannot be had on this machine.
    """

    def __init__(
        self, scenario: Scenario, data_dir: str | None, execution: Execution, seed: int = 0
    ) -> None:
        self.scenario = scenario
        self.device = execution.torch_device
        self.examples_per_round = 0.0
        self._restore = contextlib.ExitStack()
        self._restore.enter_context(execution.arithmetic())
        try:
            self.federation = Federation.prepare(scenario, seed, data_dir, self.device)
            engine = ENGINES[execution.engine_name](self.federation, execution)
        except BaseException:
            self._restore.close()
            raise
        self.dataset: Dataset = self.federation.dataset
        self._engine = self._restore.enter_context(contextlib.closing(engine))
        self._server = Aggregation.of(scenario, seed)
        self._state = engine.initial_state()
        self._round = 0
        self.seconds_per_round(1)

    def seconds_per_round(self, rounds: int) -> float:
        """Wall time of the next ``rounds`` rounds over their number."""
        now = clock(self.device)
        clients: list[int] = []
        begun = now()
        for _ in range(rounds):
            self._round += 1
            chosen = trainees(self.federation.root, self.federation.cohort(self._round))
            trained = self._engine.train(self._state, self._round, chosen)
            cohort = split(trained, self.federation)
            assert cohort is not None
            parameters = self._engine.layout.num_parameters
            self._state = self._server.aggregate(self._state, cohort, parameters, self._round)
            clients += cohort.clients
        taken = now() - begun
        federation, size = self.federation, self.federation.scenario.batch_size
        examples = sum(
            images_in(len(federation.parts[c]), federation.steps[c], size) for c in clients
        )
        self.examples_per_round = examples / rounds
        return taken / rounds

    def close(self) -> None:
        """End the helpers, and give torch its threads back."""
        self._restore.close()
