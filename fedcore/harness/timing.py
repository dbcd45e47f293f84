"""Timing a grid of runs on warm workers, and the rounds of one run, for throughput suites."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from fedcore.data.base import Dataset
from fedcore.data.loading import data_directory, load
from fedcore.engine.base import ENGINES
from fedcore.errors import FedcoreError
from fedcore.execution import Execution, exact_arithmetic
from fedcore.federation import Federation
from fedcore.harness.pool import Pool
from fedcore.harness.store import Run
from fedcore.harness.worker import Failure, Job
from fedcore.scenario import Scenario
from fedcore.strategies.base import STRATEGIES


class GridTimer:
    """Makes ``runs`` runs of ``scenario`` at a time on ``workers`` processes; nothing is stored."""

    def __init__(
        self,
        scenario: Scenario,
        runs: int,
        data_dir: str | None,
        workers: int,
        precision: str = "float32",
    ) -> None:
        self.scenario, self.runs = scenario, runs
        self.execution = Execution(device="cpu", precision=precision)
        self.data_dir: Path = data_directory(data_dir)
        self.dataset: Dataset = load(scenario.dataset, self.data_dir)
        self.examples_per_round = 0.0
        self._pool = Pool(workers)
        self._seed = 0
        self._make(workers, scenario.but(rounds=1, eval_every=1))  # imports, data, memory

    def seconds_per_round(self) -> float:
        """Wall time from handing the runs over to the last record, over all rounds made."""
        begun = time.perf_counter()
        self._make(self.runs, self.scenario)
        return (time.perf_counter() - begun) / (self.runs * self.scenario.rounds)

    def _make(self, runs: int, scenario: Scenario) -> None:
        jobs = []
        for _ in range(runs):
            run = Run(scenario, self._seed)
            jobs.append(Job(run, None, None, self.data_dir, self.execution))
            self._seed += 1
        for job in jobs:
            self._pool.submit(job)
        for job in jobs:
            result = self._pool.result(job)
            if isinstance(result, Failure):
                raise FedcoreError(f"{job.run.id}: {result.message}")
            self.examples_per_round = result.examples / scenario.rounds

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
        device = execution.torch_device
        self._restore = contextlib.ExitStack()
        self._restore.enter_context(exact_arithmetic(device))
        try:
            self.federation = Federation.prepare(scenario, seed, data_dir, device)
            engine = ENGINES[execution.engine_name](self.federation, execution)
        except BaseException:
            self._restore.close()
            raise
        self._engine = self._restore.enter_context(contextlib.closing(engine))
        self._strategy = STRATEGIES[scenario.strategy](scenario)
        self._state = engine.initial_state()
        self._round = 0
        self.seconds_per_round(1)

    def seconds_per_round(self, rounds: int) -> float:
        """Wall time of the next ``rounds`` rounds over their number."""
        begun = time.perf_counter()
        for _ in range(rounds):
            self._round += 1
            cohort = self._engine.train(
                self._state, self._round, self.federation.cohort(self._round)
            )
            parameters = self._engine.layout.num_parameters
            self._state = self._strategy.aggregate(self._state, cohort, parameters)
        return (time.perf_counter() - begun) / rounds

    def close(self) -> None:
        """End the helpers, and give torch its threads back."""
        self._restore.close()
