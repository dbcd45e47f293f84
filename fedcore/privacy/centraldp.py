"""centraldp: the server clips each update and adds noise to their mean; it must be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore.components.kinds import REFERENCE
from fedcore.privacy.calibrated import CalibratedMechanism
from fedcore.privacy.mechanism import PRIVACY
from fedcore.privacy.statement import TO_SERVER

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "centraldp",
    "fixed clipping and noise at a trusted server (McMahan et al. 2018), for comparison",
)
class CentralDp(CalibratedMechanism):
    """mean + N(0, sigma^2 I), sigma = z(epsilon, delta) * sensitivity * max_i p_i.

    ``epsilon`` holds for one participation of the client with the largest weight p_i in a cohort;
    that the others do not know who took part is not counted (no amplification by sampling).
    Flower's wrapper is the same with sigma = multiplier * C / clients, for equal weights.
    Source: McMahan, Ramage, Talwar, Zhang, "Learning Differentially Private Recurrent Language
    Models", ICLR 2018, without its sampling.
    """

    title: ClassVar[str] = "Gaussian noise on the mean of the cohort's updates"
    against: ClassVar[str] = "all who see the global model, not the server"
    trusts_server: ClassVar[bool] = True

    def problems(self, scenario: Scenario) -> list[str]:
        """Those of every calibrated mechanism, and an aggregation that is no weighted mean."""
        problems = super().problems(scenario)
        if scenario.strategy != REFERENCE:
            problems.append(
                "centraldp bounds what a client can do to a weighted mean, so it needs "
                f"strategy={REFERENCE!r}, got {scenario.strategy!r}: use localdp, which serves any"
            )
        if scenario.preaggregation is not None:
            problems.append(
                "centraldp bounds what a client can do to a weighted mean of the clients' own "
                f"updates, and preaggregation={scenario.preaggregation!r} mixes them before: leave "
                "it out, or use localdp"
            )
        return problems

    @property
    def sigma(self) -> float:
        """On the mean, for the largest weight of a client that a cohort of equals would have."""
        return self.multiplier * self.distance / self.run.scenario.cohort_size

    def cost(self, client: int, cohort: Sequence[int]) -> float:
        """(p_client / max p)^2 / z^2: clients of less weight lose less."""
        samples = self.run.facts.samples
        return (samples[client] / max(samples[c] for c in cohort) / self.multiplier) ** 2

    def _updates(self, state: ServerState, cohort: Cohort, round: int) -> torch.Tensor:
        """What is released, raw: the server clips and adds noise."""
        release = self.run.release
        return release.put(release.take(cohort.updates), cohort.updates, state.vector)

    def at_server(self, state: ServerState, cohort: Cohort, round: int) -> Cohort:
        if not cohort.clients:
            return cohort
        rows = self._clip(self.run.release.take(cohort.updates))
        # the same noise on each row is that noise on their mean, whose weights add up to 1
        drawn = self.run.noise.normal(rows.shape[1], round=round, client=-1).to(rows.device)
        deviation = self.multiplier * self.distance * float(cohort.weights.max())
        rows.add_(drawn, alpha=deviation)
        sent = self.run.release.put(rows, cohort.updates, state.vector)
        return dataclasses.replace(cohort, updates=sent)

    @property
    def place(self) -> str:
        return super().place if self.run.clients is None else TO_SERVER

    def notes(self) -> tuple[str, ...]:
        """That sigma varies."""
        text = "sigma is for equal sample counts; it grows with the largest weight in a cohort"
        return (*super().notes(), text)
