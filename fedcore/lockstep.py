"""Several runs in lockstep: the clients of all of them train as one network.

For GPUs: a round of one small federation leaves a GPU waiting for launches. Runs share a training
if they share `lockstep_key`: they may differ in seed, partition, attack, strategy and epochs. Each
run's record is what the stacked engine gives for it alone, within rounding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fedcore.engine.stacked import Bench, StackedEngine, Work
from fedcore.errors import FedcoreError
from fedcore.execution import Execution
from fedcore.federation import Federation
from fedcore.record import Record
from fedcore.scenario import Scenario
from fedcore.trial import RoundReport, Trial

Result = Record | FedcoreError
_SHARED = (
    *("dataset", "image_size", "grayscale", "normalize", "model", "norm", "batch_size"),
    *("optimizer", "lr", "momentum", "dampening", "nesterov", "mu", "weight_decay"),
)


def lockstep_key(scenario: Scenario) -> tuple[Any, ...]:
    """What must be equal for two runs to train together: images, network, batches, solver."""
    return tuple(getattr(scenario, name) for name in _SHARED)


def run_lockstep(
    runs: Sequence[tuple[Scenario, int]],
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    engine: str = "stacked",
    memory_budget: int | None = None,
    on_round: Callable[[int, RoundReport], None] | None = None,
) -> list[Record]:
    """The records of ``runs`` (scenario, seed), in their order, made together where possible.

    ``memory_budget`` is how many bytes training may take (None: 70 % of a GPU's free memory, 2 GiB
    on the CPU); runs that do not fit together follow one another. ``on_round`` hears the position
    of a run and its report. An error of one run is raised when all the others are made: to keep
    their records, take them from `lockstep` as they come. Other parameters as of `run`.
    """
    records: dict[int, Record] = {}
    errors: list[FedcoreError] = []
    execution = Execution(engine, device, precision)
    if not execution.stacks:
        raise FedcoreError(
            f"runs in lockstep need engine 'stacked' or 'stacked-graphs', got {engine!r}"
        )
    for place, event in lockstep(runs, execution, data_dir, memory_budget):
        if isinstance(event, Record):
            records[place] = event
        elif isinstance(event, FedcoreError):
            errors.append(event)
        elif on_round is not None:
            on_round(place, event)
    if errors:
        raise errors[0]
    return [records[place] for place in range(len(runs))]


def lockstep(
    runs: Sequence[tuple[Scenario, int]],
    execution: Execution,
    data_dir: str | Path | None = None,
    memory_budget: int | None = None,
) -> Iterator[tuple[int, RoundReport | Result]]:
    """Make ``runs``; yields (position, event) as it happens: reports of rounds, then the result.

    A run that cannot be made yields its error as its result and does not disturb the others.
    Where memory runs out although the estimate fits, fewer clients, then fewer runs train
    together: nothing that is done is lost. Raises torch.OutOfMemoryError if one client is too much.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, (scenario, _) in enumerate(runs):
        groups.setdefault(lockstep_key(scenario), []).append(place)
    for places in groups.values():
        wanted = {place: runs[place] for place in places}
        yield from _Group(wanted, execution, data_dir, memory_budget).events()


@dataclass(frozen=True)
class _Member:
    """A run in the making: its position, its trial, its engine on the shared bench."""

    place: int
    trial: Trial
    engine: StackedEngine

    @property
    def size(self) -> int:
        """Clients that it trains in a round."""
        return self.trial.federation.scenario.cohort_size


class _Group:
    """Runs that share a network and a solver."""

    def __init__(
        self,
        runs: dict[int, tuple[Scenario, int]],
        execution: Execution,
        data_dir: str | Path | None,
        budget: int | None,
    ) -> None:
        self.waiting = deque(runs.items())
        self.execution, self.data_dir, self.budget = execution, data_dir, budget
        self.device = execution.torch_device
        self.bench: Bench | None = None
        self.first: Federation | None = None

    def events(self) -> Iterator[tuple[int, RoundReport | Result]]:
        """See `lockstep`."""
        teams: deque[list[_Member]] = deque()
        while teams or self.waiting:
            if not teams:
                team, errors = self._gather()
                yield from errors
                teams.append(team)
            team = teams.popleft()
            while team:
                with self.execution.arithmetic():
                    reports = self._advance(team)
                if reports is None:
                    teams.extendleft((team[len(team) // 2 :], team[: len(team) // 2]))
                    break
                yield from reports
                for member in [m for m in team if m.trial.finished]:
                    team.remove(member)
                    yield member.place, _record(member.trial)

    def _gather(self) -> tuple[list[_Member], list[tuple[int, FedcoreError]]]:
        """As many of the waiting runs as fit together, at least one; and those that failed."""
        team: list[_Member] = []
        errors: list[tuple[int, FedcoreError]] = []
        while self.waiting:
            place, (scenario, seed) = self.waiting[0]
            taken = sum(member.size for member in team)
            if team and self.bench and taken + scenario.cohort_size > self.bench.trainer.limit:
                break
            self.waiting.popleft()
            try:
                with self.execution.arithmetic():
                    team.append(self._member(place, scenario, seed))
            except FedcoreError as error:
                errors.append((place, error))
        return team, errors

    def _member(self, place: int, scenario: Scenario, seed: int) -> _Member:
        started = time.perf_counter()
        federation = Federation.prepare(scenario, seed, self.data_dir, self.device)
        if self.first is None:
            self.first = federation
        else:  # one copy of the images on the device
            shared = self.first
            federation = replace(federation, train_images=shared.train_images, test=shared.test)
        if self.bench is None:
            self.bench = Bench(federation, self.execution, self.budget)
        engine = StackedEngine(federation, self.bench)
        trial = Trial(federation, engine, self.execution.label, self.device, started)
        return _Member(place, trial, engine)

    def _advance(self, team: list[_Member]) -> list[tuple[int, RoundReport]] | None:
        """One round of every run; None if memory ran out, and nothing has happened."""
        begun = time.perf_counter()
        training = [member for member in team if member.trial.trains]
        try:
            works = self._train(training)
        except torch.OutOfMemoryError:
            if len(team) == 1:
                raise
            return None
        spent = time.perf_counter() - begun
        clients = sum(member.size for member in training)
        reports = []
        for member in team:
            cohort = None
            if member in training:
                member.trial.clock.seconds["train"] += spent * member.size / clients
                work, steps = works.pop(0)
                cohort = work.cohort(steps)
            reports.append((member.place, member.trial.conclude(cohort, begun)))
        return reports

    def _train(self, training: list[_Member]) -> list[tuple[Work, tuple[int, ...]]]:
        """Each run's work of a round, done, with the local steps of its clients."""
        assert self.bench is not None
        works = [m.engine.work(m.trial.state, m.trial.round, m.trial.clients) for m in training]
        steps = self.bench.trainer.train([task for work in works for task in work.tasks])
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        done, start = [], 0
        for work in works:
            done.append((work, steps[start : start + len(work.tasks)]))
            start += len(work.tasks)
        return done


def _record(trial: Trial) -> Result:
    try:
        return trial.record()
    except FedcoreError as error:
        return error
