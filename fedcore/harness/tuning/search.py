"""Choosing local work per strategy on clean data, by the one rule of `tuning.file`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.harness.suite.lab import Lab
from fedcore.records.record import Record
from fedcore.records.store import Run
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
SEEDS = range(1000, 1004)
#: Further rates of a solver, each twice or half the last one, where that is the best so far.
EXTENSIONS = 4
#: Seeds on which what was chosen must stay finite.
TRIAL = range(1000, 1020)
PARTITIONS: tuple[dict[str, Any], ...] = (
    {"partition": "iid"},
    {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2},
)


Candidate = tuple[str, float]
#: Optimizer, learning rate and the mean tail accuracy, in percent, of each partition.
Tried = tuple[str, float, tuple[float, ...]]


@dataclass(frozen=True)
class TunedChoice:
    """What was chosen for ``strategy``, and the scores of all that was tried on ``seeds`` seeds.

    ``struck`` names what scored higher and diverged, with the first run that did. ``untuned`` is
    the pair that the strategy would have had without tuning, None where it was not tried.
    """

    dataset: str
    model: str
    strategy: str
    optimizer: str
    lr: float
    scores: tuple[Tried, ...]
    struck: tuple[str, ...] = ()
    seeds: int = len(SEEDS)
    untuned: Candidate | None = None

    @property
    def gain(self) -> float | None:
        """Points by which the choice beats `untuned`, each on its worse partition."""
        worse = {(name, lr): min(scores) for name, lr, scores in self.scores}
        if self.untuned not in worse:
            return None
        return worse[self.optimizer, self.lr] - worse[self.untuned]

    @property
    def at_the_edge(self) -> bool:
        """Whether the rate is the first or the last of those tried with its solver."""
        return _beyond((self.optimizer, self.lr), self.scores) is not None

    def toml(self) -> str:
        """This choice as a table of a tuning file; the default data set's serve all others."""
        own = "" if self.dataset == Scenario.dataset else f"{json.dumps(self.dataset)}."
        tried = ", ".join(
            f"{name} {lr:g}: {' / '.join(f'{score:.1f}' for score in scores)}"
            for name, lr, scores in self.scores
        )
        told = f"seeds = {self.seeds}\n"
        if self.untuned is not None and self.gain is not None:
            told += f'untuned = "{self.untuned[0]} {self.untuned[1]:g}"\ngain = {self.gain:.1f}\n'
        if self.at_the_edge:
            told += "# the rate is the last of the grid: offer further ones\n"
        return (
            f"[{own}{self.model}.{self.strategy}]\n"
            f'optimizer = "{self.optimizer}"\nlr = {self.lr:g}\n{told}# {tried}\n'
            + "".join(f"# struck out: {text}\n" for text in self.struck)
        )


def tune(
    lab: Lab,
    base: Scenario,
    strategies: Sequence[str],
    *,
    candidates: Sequence[Candidate] = CANDIDATES,
    partitions: Sequence[dict[str, Any]] = PARTITIONS,
    seeds: Sequence[int] = SEEDS,
    trial: Sequence[int] = TRIAL,
    one_solver: bool = False,
    extensions: int = EXTENSIONS,
    listen: Callable[[TunedChoice], None] = lambda choice: None,
) -> list[TunedChoice]:
    """The best candidate for each strategy on ``base``, clean, on held-out training samples.

    A choice is put on trial, with the seeds of ``trial`` on each partition: if one of these runs
    leaves the finite numbers, the candidate is struck out and the next best is chosen. A rate
    near that edge wins on a few seeds and then costs a run in thirty tens of points. Where the best
    rate is the first or the last of its solver's, the next one is tried, too, up to ``extensions``
    of them: what lies at the edge of a grid is not known to be the best.
    With ``one_solver`` all get the same solver, see `common_solver`, and each its best rate; what
    is struck out for one of them is for all.
    Raises ScenarioError for a strategy that no candidate suits, FedcoreError for a failed run or
    where every candidate is struck out.
    """
    held_out = base.clean_twin().but(dataset=f"holdout:{base.dataset}")

    def runs(strategy: str, candidate: Candidate, on: Sequence[int]) -> list[list[Run]]:
        optimizer, lr = candidate
        arms = [
            held_out.but(strategy=strategy, optimizer=optimizer, lr=lr, **partition)
            for partition in partitions
        ]
        return [[Run(arm, seed) for seed in on] for arm in arms]

    for strategy in strategies:
        for candidate in candidates:
            lab.begin([run for arm in runs(strategy, candidate, seeds) for run in arm])
    tried: dict[str, list[Tried]] = {
        strategy: [
            (*candidate, tuple(_score(lab, arm) for arm in runs(strategy, candidate, seeds)))
            for candidate in candidates
        ]
        for strategy in strategies
    }
    for strategy in strategies:
        _extend(lab, tried[strategy], partial(runs, strategy, on=seeds), extensions)
    untuned = (base.optimizer, base.lr)
    groups = [list(strategies)] if one_solver else [[strategy] for strategy in strategies]
    choices: list[TunedChoice] = []
    for group in groups:
        struck: dict[Candidate, str] = {}
        while True:
            best = _best({strategy: tried[strategy] for strategy in group}, struck, one_solver)
            arms = [arm for name, candidate in best.items() for arm in runs(name, candidate, trial)]
            # a seed at a time: a rate that is too high mostly shows early
            diverged = next(
                filter(None, (_diverged(lab, at) for at in zip(*arms, strict=True))), None
            )
            if diverged is None:
                break
            struck[diverged.scenario.optimizer, diverged.scenario.lr] = diverged.id
        for strategy, (optimizer, lr) in best.items():
            texts = tuple(f"{name} {rate:g}, {run}" for (name, rate), run in struck.items())
            scores = tuple(tried[strategy])
            choices.append(
                TunedChoice(
                    base.dataset, base.model, strategy, optimizer, lr, scores, texts,
                    seeds=len(seeds), untuned=untuned if _scored(untuned, scores) else None,
                )
            )  # fmt: skip
            listen(choices[-1])
    return choices


def _extend(
    lab: Lab,
    scores: list[Tried],
    runs: Callable[[Candidate], list[list[Run]]],
    extensions: int,
) -> None:
    """Add to ``scores`` the rates beyond each solver's best one, while that is at the edge."""
    for solver in dict.fromkeys(name for name, _, _ in scores):
        for _ in range(extensions):
            own = [item for item in scores if item[0] == solver]
            best = max(own, key=lambda item: (min(item[2]), -item[1]))
            further = _beyond(best[:2], own)
            if further is None:
                break
            arms = runs(further)
            lab.begin([run for arm in arms for run in arm])
            scores.append((*further, tuple(_score(lab, arm) for arm in arms)))


def _beyond(candidate: Candidate, scores: Sequence[Tried]) -> Candidate | None:
    """The next rate of the candidate's solver, where its own is the first or the last tried."""
    solver, rate = candidate
    rates = [lr for name, lr, _ in scores if name == solver]
    if rate == max(rates):
        return solver, 2 * rate
    return (solver, rate / 2) if rate == min(rates) else None


def _scored(candidate: Candidate, scores: Sequence[Tried]) -> bool:
    """Whether ``candidate`` was tried."""
    return any(item[:2] == candidate for item in scores)


def common_solver(tried: Collection[Sequence[Tried]]) -> str:
    """The solver under which the strategy that is worst off, each at its best rate, does best.

    Ties go to the solver tried first.
    """
    solvers = dict.fromkeys(optimizer for scores in tried for optimizer, _, _ in scores)

    def worst_off(solver: str) -> float:
        return min(max(min(each) for name, _, each in s if name == solver) for s in tried)

    return max(solvers, key=worst_off)


def _best(
    tried: Mapping[str, Sequence[Tried]], struck: Collection[Candidate], one_solver: bool
) -> dict[str, Candidate]:
    """The best candidate left for each strategy."""
    left = {
        strategy: [item for item in scores if item[:2] not in struck]
        for strategy, scores in tried.items()
    }
    for strategy, scores in left.items():
        if not scores:
            raise FedcoreError(f"tuning {strategy}: no candidate stays finite, offer lower rates")
    solver = common_solver(left.values()) if one_solver else None
    best = {}
    for strategy, scores in left.items():
        allowed = [item for item in scores if solver in (None, item[0])]
        best[strategy] = max(allowed, key=lambda item: (min(item[2]), -item[1]))[:2]
    return best


def _diverged(lab: Lab, runs: Sequence[Run]) -> Run | None:
    """The first of ``runs`` that diverged, None if all stayed finite."""
    lab.begin(runs)
    return next((run for run in runs if _record(lab, run).diverged is not None), None)


def _score(lab: Lab, runs: Sequence[Run]) -> float:
    return 100 * sum(_record(lab, run).tail_accuracy for run in runs) / len(runs)


def _record(lab: Lab, run: Run) -> Record:
    result = lab.result(run)
    if not isinstance(result, Record):
        raise FedcoreError(f"{run.id}: {result.message}")
    return result
