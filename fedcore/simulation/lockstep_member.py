"""A run among others in lockstep: what ends its round happens to it as a whole, or not at all."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch

from fedcore.engine.stacked import RoundWork, StackedEngine
from fedcore.errors import FedcoreError
from fedcore.records.record import Record
from fedcore.simulation.trial import RoundReport, Trial


@dataclass(frozen=True)
class Member:
    """A run in the making: its position, its trial, its engine on the shared bench."""

    place: int
    trial: Trial
    engine: StackedEngine

    @property
    def size(self) -> int:
        """Clients that it trains in a round."""
        return self.trial.federation.scenario.cohort_size

    def work(self) -> RoundWork:
        """What its clients have to do in the next round."""
        trial = self.trial
        return self.engine.work(trial.state, trial.round, trial.trainees)

    def conclude(self, done: tuple[RoundWork, tuple[int, ...]] | None, begun: float) -> RoundReport:
        """End the round, of ``done`` work and its local steps (None: a diverged run has none).

        Where that raises torch.OutOfMemoryError, the run is as it was before the round.
        """
        if done is None:  # which computes nothing, so that memory cannot run out
            return self.trial.conclude(None, begun)
        work, steps = done
        saved, kept = self._saved(), dict(work.kept)
        try:
            return self.trial.conclude(work.cohort(steps), begun)
        except torch.OutOfMemoryError:
            vars(self.trial).update(saved)
            work.kept.clear()
            work.kept.update(kept)
            raise

    def _saved(self) -> dict[str, Any]:
        """The trial's attributes, copied but for what a round does not write to."""
        trial = self.trial
        fixed = [trial.federation, trial.federation.scenario, trial.engine, trial.engine.layout]
        for value in vars(trial).values():
            if isinstance(value, tuple):
                fixed.append(value)
            elif isinstance(value, list):  # it grows; what is in it stays
                fixed.extend(value)
        return copy.deepcopy(vars(trial), {id(each): each for each in fixed})

    def result(self) -> Record | FedcoreError:
        """The record of the finished run, or why it has none."""
        try:
            return self.trial.record()
        except FedcoreError as error:
            return error
