"""localdpmod: what Flower's LocalDpMod (1.41.0) does, as shipped, with its true epsilon beside.

Its three faults are kept: integer counters of BatchNorm enter the norm, so that a few local steps
shrink the update to nothing, and escape scale and noise; sigma comes from a ``sensitivity`` that
knows nothing of the clip norm; and from a formula proven for epsilon < 1 only. A zero update
divides by zero there and is refused here.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore.components.parameters import param
from fedcore.errors import PrivacyError
from fedcore.privacy import parameters
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.gaussian import classical_multiplier, epsilon_of
from fedcore.privacy.mechanism import PRIVACY, Mechanism
from fedcore.privacy.release import Release
from fedcore.privacy.session import budget_problems

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "localdpmod",
    "Flower's LocalDpMod as shipped: not the epsilon that it names; ruins BatchNorm",
)
class LocalDpMod(Mechanism):
    """Everything is sent: parameters, float buffers, counters. Neighbours: replace."""

    title: ClassVar[str] = "Flower's LocalDpMod as shipped"
    auditable: ClassVar[bool] = True

    epsilon: float = parameters.epsilon()
    delta: float = parameters.delta()
    clip_norm: float = parameters.clip_norm()
    sensitivity: float = param(
        "what LocalDpMod is told, whatever it clips to",
        default=1.0,
        low=0,
        open_low=True,
        token="sensitivity",
    )
    epsilon_budget: float | None = parameters.epsilon_budget()

    def problems(self, scenario: Scenario) -> list[str]:
        """A budget below one release."""
        return budget_problems(self.epsilon_budget, epsilon_of(self._mu, self.delta))

    def release_of(self, layout: Layout) -> Release:
        # no variance is kept from falling below zero, as it is shipped
        return dataclasses.replace(Release.of(layout, "whole", "released"), variances=())

    @property
    def distance(self) -> float:
        """The true one: 2 C."""
        return sensitivity("replace", self.clip_norm)

    @cached_property
    def sigma(self) -> float:
        """Sensitivity * sqrt(2 ln(1.25 / delta)) / epsilon with the sensitivity that was named."""
        return self.distance / self._mu

    def _updates(self, state: ServerState, cohort: Cohort, round: int) -> torch.Tensor:
        rows = cohort.updates.to(torch.float64).clone()
        counted = (cohort.counters - state.counters).to(torch.float64)
        lengths = torch.cat([rows, counted], dim=1).norm(dim=1)
        for row, client, length in zip(rows, cohort.clients, lengths.tolist(), strict=True):
            if length == 0:
                raise PrivacyError(
                    f"LocalDpMod divides by zero on the zero update of client {client} in round "
                    f"{round}: use privacy='localdp'"
                )
            row.mul_(min(1.0, self.clip_norm / length))
            self.run.clipped += length > self.clip_norm
            drawn = self.run.noise.normal(len(row), round=round, client=client)
            row.add_(drawn.to(row.device), alpha=self.sigma)
        return rows.to(cohort.updates)

    def notes(self) -> tuple[str, ...]:
        """What its formula leaves out."""
        text = "step counters enter the norm; sigma is LocalDpMod's, the epsilons are the true ones"
        zero = "a client whose update is zero refuses, which shows that it is zero"
        return (*super().notes(), text, zero)

    @property
    def _mu(self) -> float:
        """True sensitivity over the sigma of Flower's formula."""
        return self.distance / (self.sensitivity * classical_multiplier(self.epsilon, self.delta))
