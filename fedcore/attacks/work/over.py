"""Local work on top of another attack: what the attacks of this room have in common."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from fedcore.attacks.attack import Attack, DataAttack, LocalWork, Work
from fedcore.components.parameters import param

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


class WorkOver(LocalWork):
    """Malicious clients do what ``of`` does to their data and work, and train otherwise.

    Data and the measure of success are those of ``of``; without it the data stay clean.
    """

    of: Attack | None = param("the attack that is trained on; None: clean data", default=None)

    @property
    def data(self) -> DataAttack | None:
        return None if self.of is None else self.of.data

    @property
    def success(self) -> Attack | None:
        return None if self.of is None else self.of.success

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        return [] if self.of is None else self.of.data_problems(num_classes, shape)

    def inner(self, base: Work) -> Work:
        """What ``of`` makes of the work ``base``."""
        work = None if self.of is None else self.of.work
        return base if work is None else work.changed(base)

    def _lost(self) -> list[tuple[str, float, float]]:
        """What the inner attack sets and this one sets anew: (name, that, this)."""
        assert self.of is not None
        base = Work(1)
        inner, own = self.inner(base), dataclasses.replace(self, of=None).changed(base)
        return [
            (name, getattr(inner, name), getattr(own, name))
            for name in ("radius", "masked")
            if getattr(inner, name) and getattr(own, name)
        ]

    def problems(self, scenario: Scenario) -> list[str]:
        """An inner attack on updates, private steps, and what the inner attack needs."""
        problems = [] if self.of is None else self.of.problems(scenario)
        private = scenario.parts.privacy
        if private is not None and private.trains(scenario) and self.changed(Work(1)).in_steps:
            problems.append(
                f"attack {self.name!r} acts within local steps, which privacy="
                f"{scenario.privacy!r} makes itself: choose another attack or mechanism"
            )
        lost = self._lost() if self.of is not None and self.of.work is not None else []
        problems += [
            f"attack {self.name!r} sets {name}={ours:g} in place of the {theirs:g} of its inner "
            "attack, which would do nothing: leave either out"
            for name, theirs, ours in lost
        ]
        if self.of is not None and self.of.update is not None:
            problems.append(
                f"attack {self.name!r} changes how clients train, and of={self.of.name!r} what "
                f"they send afterwards: write it the other way round, as scaled(of={self.name}())"
            )
        return problems

    def audit_problems(self, record: Record) -> list[str]:
        """What the inner attack finds."""
        return [] if self.of is None else self.of.audit_problems(record)
