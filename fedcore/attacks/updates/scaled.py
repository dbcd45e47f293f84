"""Scaled update: model replacement, alone or on top of another attack.

Bagdasaryan, Veit, Hua, Estrin and Shmatikov, "How To Backdoor Federated Learning", 2020, eq. 3: the
update times gamma = n / eta survives the average of n clients. Here n is the cohort, and eta is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import (
    ATTACKS,
    Attack,
    DataAttack,
    LocalWork,
    Seen,
    UpdateAttack,
)
from fedcore.components.parameters import param
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Memory
    from fedcore.exchange.sent import Sent
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


@ATTACKS.register("scaled", "another attack's updates times gamma (Bagdasaryan et al. 2020)")
class Scaled(UpdateAttack):
    """Every malicious client does what ``of`` says, and sends gamma times its update.

    Data, local work and the measure of success are those of ``of``.
    """

    of: Attack | None = param("the attack whose updates are scaled; None: honest", default=None)
    gamma: float | None = param(
        "factor; None: the size of the cohort", default=None, low=0, open_low=True
    )

    @property
    def data(self) -> DataAttack | None:
        return None if self.of is None else self.of.data

    @property
    def work(self) -> LocalWork | None:
        return None if self.of is None else self.of.work

    @property
    def knows(self) -> str:  # type: ignore[override]
        """What the attack that is scaled knows."""
        inner = None if self.of is None else self.of.update
        return "own" if inner is None else inner.knows

    @property
    def one_row(self) -> bool:  # type: ignore[override]
        """Whether the attack that is scaled sends one row for all."""
        inner = None if self.of is None else self.of.update
        return inner is not None and inner.one_row

    @property
    def breaks(self) -> bool:
        """Whether gamma or the attack that is scaled may leave the finite numbers."""
        inner = None if self.of is None else self.of.update
        return super().breaks or (inner is not None and inner.breaks)

    @property
    def success(self) -> Attack | None:
        return None if self.of is None else self.of.success

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        return [] if self.of is None else self.of.data_problems(num_classes, shape)

    def problems(self, scenario: Scenario) -> list[str]:
        """A factor that changes nothing, and what the attack that is scaled needs."""
        problems = [] if self.of is None else self.of.problems(scenario)
        if self._factor(scenario.cohort_size) == 1:
            problems.append("scaled with gamma=1 would change nothing: choose another gamma")
        return problems

    def craft(self, seen: Seen) -> torch.Tensor:
        """Gamma * what ``of`` sends, [m, P]."""
        inner = None if self.of is None else self.of.update
        sent = seen.own if inner is None else inner.craft(seen)
        return self._factor(seen.clients) * sent

    def _factor(self, clients: int) -> float:
        return float(clients) if self.gamma is None else self.gamma

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Those of the attack that is scaled, of rows divided by gamma.

        Where that leaves updates alone ``off``: how far the row is from gamma times the own update,
        over its length.
        """
        scaled = sent.over(sent.factor * self._factor(sent.clients))
        inner = None if self.of is None else self.of.update
        return {"off": scaled.off_own(1.0)} if inner is None else inner.measured(scaled)

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        inner = None if self.of is None else self.of.update
        return () if inner is None else inner.remarks(memory)

    def audit_problems(self, record: Record) -> list[str]:
        """Updates that are not gamma times what the attack that is scaled makes of them."""
        problems = [] if self.of is None else self.of.audit_problems(record)
        if self.of is None or self.of.update is None:
            problems += measured_problems(record, "off", 0, 1e-5, required=not self.breaks)
        return problems
