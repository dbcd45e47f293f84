"""Choosing local work per strategy on clean data, by the one rule of `fedcore.harness.tuning`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.harness.lab import Lab
from fedcore.harness.store import Run
from fedcore.record import Record
from fedcore.scenario import Scenario

#: (optimizer, learning rate) pairs that are tried.
CANDIDATES = (
    ("sgd", 0.05),
    ("sgd", 0.1),
    ("sgd", 0.2),
    ("sgd", 0.4),
    ("momentum", 0.02),
    ("momentum", 0.05),
)
#: Seeds apart from those of any suite, which count from 0.
SEEDS = (1000, 1001)
PARTITIONS: tuple[dict[str, Any], ...] = (
    {"partition": "iid"},
    {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2},
)


@dataclass(frozen=True)
class Choice:
    """What was chosen for ``strategy``; scores are mean tail accuracies in percent."""

    dataset: str
    model: str
    strategy: str
    optimizer: str
    lr: float
    scores: tuple[tuple[str, float, float], ...]

    def toml(self) -> str:
        """This choice as a table of a tuning file; the default data set's serve all others."""
        own = "" if self.dataset == Scenario.dataset else f"{json.dumps(self.dataset)}."
        tried = ", ".join(f"{name} {lr:g}: {score:.1f}" for name, lr, score in self.scores)
        return (
            f"[{own}{self.model}.{self.strategy}]\n"
            f'optimizer = "{self.optimizer}"\nlr = {self.lr:g}\n# {tried}\n'
        )


def tune(
    lab: Lab,
    base: Scenario,
    strategies: Iterable[str],
    *,
    candidates: Sequence[tuple[str, float]] = CANDIDATES,
    partitions: Sequence[dict[str, Any]] = PARTITIONS,
    seeds: Sequence[int] = SEEDS,
    listen: Callable[[Choice], None] = lambda choice: None,
) -> list[Choice]:
    """The best candidate for each strategy on ``base``, clean, on held-out training samples.

    Raises ScenarioError for a strategy that no candidate suits, FedcoreError for a failed run.
    """
    held_out = base.clean_twin().but(dataset=f"holdout:{base.dataset}")
    plan = {
        (strategy, optimizer, lr): [
            Run(held_out.but(strategy=strategy, optimizer=optimizer, lr=lr, **partition), seed)
            for partition in partitions
            for seed in seeds
        ]
        for strategy in strategies
        for optimizer, lr in candidates
    }
    for runs in plan.values():
        lab.begin(runs)
    choices = []
    for strategy in strategies:
        scores = [
            (optimizer, lr, _score(lab, plan[strategy, optimizer, lr]))
            for optimizer, lr in candidates
        ]
        optimizer, lr, _ = max(scores, key=lambda item: (item[2], -item[1]))
        choices.append(Choice(base.dataset, base.model, strategy, optimizer, lr, tuple(scores)))
        listen(choices[-1])
    return choices


def _score(lab: Lab, runs: Sequence[Run]) -> float:
    total = 0.0
    for run in runs:
        result = lab.result(run)
        if not isinstance(result, Record):
            raise FedcoreError(f"{run.id}: {result.message}")
        total += result.tail_accuracy
    return 100 * total / len(runs)
