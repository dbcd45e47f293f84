"""Runs of one network and solver in lockstep, and what becomes of them where memory runs out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from fedcore.engine.execution import Execution
from fedcore.engine.stacked import Bench, RoundWork, StackedEngine
from fedcore.errors import FedcoreError
from fedcore.federation.federation import Federation
from fedcore.records.provenance import code_of
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep_member import Member
from fedcore.simulation.trial import RoundReport, Trial

#: The position of a run and what happened to it: a report of a round, or its result.
Event = tuple[int, RoundReport | Record | FedcoreError]
_P = ParamSpec("_P")
_T = TypeVar("_T")


class MemoryShortage(FedcoreError, RuntimeError):
    """A run that the device's memory does not hold, even trained alone."""


class Group:
    """Runs that share a network and a solver, to be made by ``execution``; see `lockstep`."""

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
        self.most = len(runs)  # that go together
        self.last: set[int] = set()  # runs that have been put last, for want of memory

    def events(self) -> Iterator[Event]:
        """Make the runs; (position, event) as it happens."""
        teams: deque[list[Member]] = deque()
        while teams or self.waiting:
            if not teams:
                team, errors = self._gather()
                yield from errors
                teams.append(team)
            team = teams.popleft()
            while team:
                size = len(team)
                trouble = yield from self._advance(team)
                if trouble is None:
                    continue
                short = isinstance(trouble, MemoryShortage)
                if size > 1:
                    self.most = max(1, size // 2) if short else self.most
                    teams.extendleft((team[len(team) // 2 :], team[: len(team) // 2]))
                elif short and teams and team[0].place not in self.last:
                    self.last.add(team[0].place)  # the others' models take memory, too
                    teams.append(team)
                else:
                    yield team.pop().place, trouble
                break

    def _gather(self) -> tuple[list[Member], list[Event]]:
        """As many of the waiting runs as fit together, at least one; and those that failed."""
        team: list[Member] = []
        errors: list[Event] = []
        while self.waiting and len(team) < self.most:
            place, (scenario, seed) = self.waiting[0]
            taken = sum(member.size for member in team)
            if team and self.bench and taken + scenario.cohort_size > self.bench.trainer.limit:
                break
            try:
                with self.execution.arithmetic():
                    team.append(self._spared(self._member, place, scenario, seed))
            except torch.OutOfMemoryError as error:
                if team:
                    self.most = len(team)
                    break
                errors.append((place, self._shortage(scenario, error)))
            except FedcoreError as error:
                errors.append((place, _bare(error)))
            self.waiting.popleft()
        return team, errors

    def _member(self, place: int, scenario: Scenario, seed: int) -> Member:
        started = time.perf_counter()
        code_of(scenario, "")  # as `fedcore.simulation.runner.run` does
        federation = Federation.prepare(scenario, seed, self.data_dir, self.device)
        if self.bench is None:
            self.bench = Bench(federation, self.execution, self.budget)
        if self.first is None:
            self.first = federation
        else:  # one copy of the images on the device
            shared = self.first
            same = federation.root is shared.root  # none: else each has a test split of its own
            test = shared.test if same else federation.test
            federation = replace(federation, train_images=shared.train_images, test=test)
        engine = StackedEngine(federation, self.bench)
        trial = Trial(federation, engine, self.execution.label, self.device, started)
        return Member(place, trial, engine)

    def _advance(self, team: list[Member]) -> Generator[Event, None, FedcoreError | None]:
        """One round of every run; returns the error that kept the rest from it, if any.

        Runs that are over leave ``team``; those without a report are as they were before.
        """
        training = [member for member in team if member.trial.trains]
        begun = time.perf_counter()
        try:
            with self.execution.arithmetic():
                done = self._train(training)
        except torch.OutOfMemoryError as error:
            return self._shortage(team[0].trial.federation.scenario, error)
        except FedcoreError as error:
            return _bare(error)
        spent = time.perf_counter() - begun
        clients = sum(member.size for member in training)
        for member in tuple(team):
            trained = None
            if member in training:
                member.trial.clock.seconds["train"] += spent * member.size / clients
                trained = done.pop(0)
            try:
                with self.execution.arithmetic():
                    begun = time.perf_counter() - spent
                    report = self._spared(member.conclude, trained, begun)
            except torch.OutOfMemoryError as error:
                return self._shortage(member.trial.federation.scenario, error)
            except FedcoreError as error:
                team.remove(member)
                yield member.place, _bare(error)
                continue
            yield member.place, report
            if member.trial.finished:
                team.remove(member)
                yield member.place, member.result()
        return None

    def _train(self, training: list[Member]) -> list[tuple[RoundWork, tuple[int, ...]]]:
        """Each run's work of a round, done, with the local steps of its clients."""
        assert self.bench is not None
        works = [member.work() for member in training]
        steps = self.bench.trainer.train([task for work in works for task in work.tasks])
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        done, start = [], 0
        for work in works:
            done.append((work, steps[start : start + len(work.tasks)]))
            start += len(work.tasks)
        return done

    def _spared(self, action: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What ``action`` gives; where memory runs out, once more without what training keeps."""
        try:
            return action(*args, **kwargs)
        except torch.OutOfMemoryError:
            pass  # and on, out of this clause: the error holds on to the tensors
        if self.bench is not None:
            self.bench.trainer.give_back()
        return action(*args, **kwargs)

    def _shortage(self, scenario: Scenario, error: torch.OutOfMemoryError) -> MemoryShortage:
        reason = str(error).partition("\n")[0]
        return MemoryShortage(
            f"the memory of {self.device} does not hold {scenario.id}, even trained alone "
            f"({reason}): lower batch_size or image_size, or take --device cpu"
        )


def _bare(error: FedcoreError) -> FedcoreError:
    """``error`` without the frames that hold on to tensors of the device."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
