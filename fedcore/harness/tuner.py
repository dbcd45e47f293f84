"""Choosing local work per strategy on clean data, by the one rule of `fedcore.harness.tuning`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
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
SEEDS = range(1000, 1002)
PARTITIONS: tuple[dict[str, Any], ...] = (
    {"partition": "iid"},
    {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2},
)


#: Optimizer, learning rate and the mean tail accuracy, in percent, of each partition.
Tried = tuple[str, float, tuple[float, ...]]


@dataclass(frozen=True)
class Choice:
    """What was chosen for ``strategy``, and the scores of all that was tried."""

    dataset: str
    model: str
    strategy: str
    optimizer: str
    lr: float
    scores: tuple[Tried, ...]

    def toml(self) -> str:
        """This choice as a table of a tuning file; the default data set's serve all others."""
        own = "" if self.dataset == Scenario.dataset else f"{json.dumps(self.dataset)}."
        tried = ", ".join(
            f"{name} {lr:g}: {' / '.join(f'{score:.1f}' for score in scores)}"
            for name, lr, scores in self.scores
        )
        return (
            f"[{own}{self.model}.{self.strategy}]\n"
            f'optimizer = "{self.optimizer}"\nlr = {self.lr:g}\n# {tried}\n'
        )


def tune(
    lab: Lab,
    base: Scenario,
    strategies: Sequence[str],
    *,
    candidates: Sequence[tuple[str, float]] = CANDIDATES,
    partitions: Sequence[dict[str, Any]] = PARTITIONS,
    seeds: Sequence[int] = SEEDS,
    one_solver: bool = False,
    listen: Callable[[Choice], None] = lambda choice: None,
) -> list[Choice]:
    """The best candidate for each strategy on ``base``, clean, on held-out training samples.

    With ``one_solver`` all get the same solver, see `common_solver`, and each its best rate.
    Raises ScenarioError for a strategy that no candidate suits, FedcoreError for a failed run.
    """
    held_out = base.clean_twin().but(dataset=f"holdout:{base.dataset}")
    plan = {
        (strategy, optimizer, lr): [
            [
                Run(held_out.but(strategy=strategy, optimizer=optimizer, lr=lr, **partition), seed)
                for seed in seeds
            ]
            for partition in partitions
        ]
        for strategy in strategies
        for optimizer, lr in candidates
    }
    for arms in plan.values():
        lab.begin([run for runs in arms for run in runs])

    def tried(strategy: str) -> list[Tried]:
        return [
            (optimizer, lr, tuple(_score(lab, runs) for runs in plan[strategy, optimizer, lr]))
            for optimizer, lr in candidates
        ]

    solver = common_solver([tried(strategy) for strategy in strategies]) if one_solver else None
    choices = []
    for strategy in strategies:
        choices.append(_choice(base, strategy, tried(strategy), solver))
        listen(choices[-1])
    return choices


def common_solver(tried: Collection[Sequence[Tried]]) -> str:
    """The solver under which the strategy that is worst off, each at its best rate, does best.

    Ties go to the solver tried first.
    """
    solvers = dict.fromkeys(optimizer for scores in tried for optimizer, _, _ in scores)

    def worst_off(solver: str) -> float:
        return min(max(min(each) for name, _, each in s if name == solver) for s in tried)

    return max(solvers, key=worst_off)


def _choice(base: Scenario, strategy: str, tried: Sequence[Tried], solver: str | None) -> Choice:
    allowed = [item for item in tried if solver in (None, item[0])]
    optimizer, lr, _ = max(allowed, key=lambda item: (min(item[2]), -item[1]))
    return Choice(base.dataset, base.model, strategy, optimizer, lr, tuple(tried))


def _score(lab: Lab, runs: Sequence[Run]) -> float:
    total = 0.0
    for run in runs:
        result = lab.result(run)
        if not isinstance(result, Record):
            raise FedcoreError(f"{run.id}: {result.message}")
        total += result.tail_accuracy
    return 100 * total / len(runs)
