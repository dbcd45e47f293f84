"""Mechanisms: how an update is made private before the server sees it, and what that is worth.

A mechanism has two halves: `Mechanism.at_client` turns updates into releases, the only thing of
them that leaves a client, and `Mechanism.at_server` is what a trusted server does with them. Over
a network each client runs the first half itself; in one process `privatise` runs both between
local training and aggregation. The mechanism keeps account of every release of every client, ends
a run before a client would exceed the budget, and writes the statement. Malicious clients run it
like all others: what is measured is poison that passes through it, not an attack on it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from fedcore._version import __version__
from fedcore.components.component import Component
from fedcore.components.kinds import PRIVACY as PRIVACY
from fedcore.errors import PrivacyError
from fedcore.privacy import gaussian
from fedcore.privacy.clipping import clip_rows
from fedcore.privacy.noise import NoiseSource, SecureNoise, SeededNoise
from fedcore.privacy.release import Release
from fedcore.privacy.session import SLACK, MechanismRun
from fedcore.privacy.session import Facts as Facts
from fedcore.privacy.statement import AT_CLIENT, ATTACKERS, IN_CLEAR, SIMULATED, PrivacyStatement

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.scenario import Scenario

Cohorts = tuple[tuple[int, ...], ...]

RELATIONS = {
    "replace": "the client's data replaced by any other of equal size (replace)",
    "zero-out": "the client's update replaced by none, its counts kept (zero-out)",
}


class Mechanism(Component):
    """A mechanism of differential privacy. Subclasses are registered in `PRIVACY`.

    An object has the parameters; `over` gives its equal for one run, which keeps the account. The
    cost of a release adds up over a client's releases: by default mu^2, from which the exact total
    follows (`fedcore.privacy.gaussian`).

    ``per_example``: local training itself clips and noises each sample's gradient. ``auditable``:
    `privacy.distinguishing` can play against it. ``noise_parameters``: those that say how much
    noise there is, in which runs of one privacy surface differ.
    """

    kind: ClassVar[str] = "privacy"
    uses: ClassVar[tuple[str, ...]] = ("scipy",)
    title: ClassVar[str] = "Gaussian noise on each client's update"
    against: ClassVar[str] = "the server and all who see the update"
    unit: ClassVar[str] = "a client's whole data"
    accountant: ClassVar[str] = gaussian.ACCOUNTANT
    #: Clients send what is released without noise, the server adds it.
    trusts_server: ClassVar[bool] = False
    per_example: ClassVar[bool] = False
    auditable: ClassVar[bool] = False
    noise_parameters: ClassVar[tuple[str, ...]] = (
        *("epsilon", "delta", "neighbours", "epsilon_budget"),
    )

    def over(self, scenario: Scenario, facts: Facts, noise: NoiseSource | None = None) -> Self:
        """This mechanism for a run of ``scenario``, with an account of its own.

        Raises PrivacyError where the model lacks what is to be released.
        """
        mechanism = copy.copy(self)
        release = self.release_of(facts.layout)
        clients = len(facts.samples)
        run = MechanismRun(
            scenario,
            facts,
            noise or SeededNoise(facts.seed),
            release,
            [0.0] * clients,
            [0] * clients,
        )
        object.__setattr__(mechanism, "_run", run)
        return mechanism

    @property
    def run(self) -> MechanismRun:
        """What serves the run that `over` made this for."""
        run: MechanismRun = self.__dict__["_run"]
        return run

    @property
    def limit(self) -> float:
        """C: the longest update that is sent."""
        return float(self._parameter("clip_norm", 1.0))

    def _parameter(self, name: str, without: Any) -> Any:
        """The value of a parameter that not every mechanism has."""
        value = self.__dict__.get(name)
        return without if value is None else value

    def trains(self, scenario: Scenario) -> bool:
        """Whether local training itself must differ, which takes an engine that knows how."""
        buffers = self._parameter("buffers", None)
        frozen_norms = scenario.norm == "batch" and buffers == "frozen"
        head: bool = self._parameter("released", "whole") == "head"
        return head or frozen_norms

    def release_of(self, layout: Layout) -> Release:
        """What is released of an update: of the parameters, and of buffers. PrivacyError."""
        released = self._parameter("released", "whole")
        return Release.of(layout, released, self._parameter("buffers", "frozen"))

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Deviation of the noise on one coordinate of a release."""

    @property
    @abstractmethod
    def distance(self) -> float:
        """Distance of neighbouring releases that ``sigma`` is measured against."""

    @property
    def relation(self) -> str:
        """Which data are neighbours, in words."""
        return RELATIONS[self._parameter("neighbours", "replace")]

    @property
    def epsilon_nominal(self) -> float | None:
        """What the mechanism's own formula says of one release."""
        epsilon: float | None = self._parameter("epsilon", None)
        return epsilon

    def cost(self, client: int, cohort: Sequence[int]) -> float:
        """What one release of ``client`` in ``cohort`` adds to its account: mu^2."""
        return (self.distance / self.sigma) ** 2 if self.sigma else math.inf

    def spent(self, client: int, cost: float) -> float:
        """The total epsilon of ``client`` whose account stands at ``cost``; may be infinite."""
        delta = self._parameter("delta", None)
        if math.isinf(cost) or delta is None:
            return math.inf if cost else 0.0
        return gaussian.epsilon_of(math.sqrt(cost), delta)

    def affordable(self, cohorts: Cohorts) -> Cohorts:
        """The rounds before the first in which some client would exceed the budget; all without.

        Raises PrivacyError if not even the first round fits.
        """
        budget = self._parameter("epsilon_budget", None)
        if budget is None:
            return cohorts
        costs = [0.0] * len(self.run.facts.samples)
        for index, cohort in enumerate(cohorts):
            for client in cohort:
                costs[client] += self.cost(client, cohort)
                total = self.spent(client, costs[client])
                if total <= budget * (1 + SLACK):
                    continue
                if index == 0:
                    raise PrivacyError(
                        f"epsilon_budget={budget:g} is less than the epsilon {total:.4g} of a "
                        "single release: raise it, or release less"
                    )
                self.run.stopped = index + 1
                return cohorts[:index]
        return cohorts

    def privatise(
        self,
        state: ServerState,
        cohort: Cohort,
        round: int,
        asked: Sequence[int] | None = None,
    ) -> Cohort:
        """The cohort as the strategy sees it; the accounts of ``asked`` (None: of it) are charged.

        Over a network ``cohort`` is what the clients have released, in one process what they have
        trained.
        """
        if self.run.clients is None:
            cohort = self.at_client(state, cohort, round)
        elif self.trusts_server and self.run.clients.secret:
            self.run.noise = SecureNoise()  # of real clients, who know the seed of the run
        cohort = self.at_server(state, cohort, round)
        self.charge(cohort.clients if asked is None or self.trusts_server else asked)
        return cohort

    def at_client(self, state: ServerState, cohort: Cohort, round: int) -> Cohort:
        """What leaves the clients of ``cohort``, in its place: zeros stand for what does not."""
        counters = cohort.counters
        if not self.run.release.buffers:
            counters = state.counters.expand_as(counters)
        sent = self._updates(state, cohort, round)
        return dataclasses.replace(cohort, updates=sent, counters=counters)

    def at_server(self, state: ServerState, cohort: Cohort, round: int) -> Cohort:
        """What a trusted server adds to the releases of ``cohort``: nothing, where none is."""
        return cohort

    def charge(self, clients: Sequence[int]) -> None:
        """Account for a release of each of ``clients``, together a cohort.

        Over a network these are all who were asked: a reply that comes late or is left out was
        sent all the same.
        """
        for client in clients:
            self.run.costs[client] += self.cost(client, clients)
            self.run.releases[client] += 1

    def _updates(self, state: ServerState, cohort: Cohort, round: int) -> torch.Tensor:
        """Clipped to the norm and noised, each client from its own stream; [K, D]."""
        rows = self._clip(self.run.release.take(cohort.updates))
        if self.sigma:
            for row, client in zip(rows, cohort.clients, strict=True):
                drawn = self.run.noise.normal(len(row), round=round, client=client)
                row.add_(drawn.to(row.device), alpha=self.sigma)
        return self.run.release.put(rows, cohort.updates, state.vector)

    def _clip(self, rows: torch.Tensor) -> torch.Tensor:
        rows, long, broken = clip_rows(rows, self.limit)
        self.run.clipped += int(long.sum())
        self.run.broken += int(broken.sum())
        return rows

    def notes(self) -> tuple[str, ...]:
        """What the statement must add."""
        return (self.place, IN_CLEAR, ATTACKERS)

    @property
    def place(self) -> str:
        """Where the mechanism runs, in words."""
        return SIMULATED if self.run.clients is None else AT_CLIENT

    def statement(self) -> PrivacyStatement:
        """The statement about all releases so far."""
        releases = sum(self.run.releases)
        totals = [self.spent(client, cost) for client, cost in enumerate(self.run.costs)]
        first = self.epsilon_once()
        away = self.run.clients is not None and not self.trusts_server
        return PrivacyStatement(
            mechanism=self.title,
            unit=self.unit,
            relation=self.relation,
            against=self.against,
            released=self.run.release.description,
            dimension=self.run.release.dimension,
            clip_norm=self.limit,
            sensitivity=self.distance,
            sigma=self.sigma,
            delta=self._parameter("delta", None),
            epsilon_nominal=self.epsilon_nominal,
            epsilon_round=_finite(first),
            epsilon_total=_finite(max(totals, default=0.0)),
            epsilons=tuple(_finite(total) for total in totals),
            participations=tuple(self.run.releases),
            accountant=self.accountant,
            version=f"fedcore {__version__}",
            generator=self.run.clients.description
            if away and self.run.clients
            else self.run.noise.description,
            budget=self._parameter("epsilon_budget", None),
            stopped=self.run.stopped,
            clipped=self.run.clipped / releases if releases and not away else None,
            non_finite=None if away else self.run.broken,
            notes=self.notes(),
        )

    def epsilon_once(self) -> float:
        """The true epsilon of one release, of the client with the largest; may be infinite."""
        return self.spent(0, self.cost(0, (0,)))


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
