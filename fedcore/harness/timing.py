"""Timing a grid of runs on warm workers, for throughput suites."""

from __future__ import annotations

import time
from pathlib import Path

from fedcore.data.base import Dataset
from fedcore.data.loading import data_directory, load
from fedcore.errors import FedcoreError
from fedcore.execution import Execution
from fedcore.harness.pool import Pool
from fedcore.harness.store import Run
from fedcore.harness.worker import Failure, Job
from fedcore.scenario import Scenario


class GridTimer:
    """Makes ``runs`` runs of ``scenario`` at a time on ``workers`` processes; nothing is stored."""

    def __init__(self, scenario: Scenario, runs: int, data_dir: str | None, workers: int) -> None:
        self.scenario, self.runs = scenario, runs
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
            jobs.append(
                Job(Run(scenario, self._seed), None, None, self.data_dir, Execution(device="cpu"))
            )
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
