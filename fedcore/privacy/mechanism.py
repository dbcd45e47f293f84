"""Mechanisms: how an update is made private before the server sees it, and what that is worth.

A mechanism has two halves: `Mechanism.at_client` turns updates into releases, the only thing of
them that leaves a client, and `Mechanism.at_server` is what a trusted server does with them. Over
a network each client runs the first half itself; in one process `privatise` runs both between
local training and aggregation. The mechanism keeps account of every release of every client, ends
a run before a client would exceed the budget, and writes the statement. Malicious clients run it
like all others: what is measured is poison that passes through it, not an attack on it.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore._version import __version__
from fedcore.components.bridge import OldComponent as Component
from fedcore.components.kinds import PRIVACY as PRIVACY
from fedcore.errors import PrivacyError
from fedcore.privacy import gaussian
from fedcore.privacy.clipping import clip_rows
from fedcore.privacy.noise import Generators, NoiseSource, SecureNoise, SeededNoise
from fedcore.privacy.release import Release
from fedcore.privacy.statement import AT_CLIENT, ATTACKERS, IN_CLEAR, SIMULATED, PrivacyStatement

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.scenario import Scenario

Cohorts = tuple[tuple[int, ...], ...]

# Totals that equal the budget up to rounding are within it.
_SLACK = 1e-9

RELATIONS = {
    "replace": "the client's data replaced by any other of equal size (replace)",
    "zero-out": "the client's update replaced by none, its counts kept (zero-out)",
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a mechanism knows of a run: ``samples`` and ``steps`` a round are per client."""

    seed: int
    layout: Layout
    samples: tuple[int, ...]
    steps: tuple[int, ...]


class Mechanism(Component):
    """A mechanism over one run. Subclasses are registered in `PRIVACY`.

    The cost of a release adds up over a client's releases: by default mu^2, from which the exact
    total follows (`fedcore.privacy.gaussian`). Raises PrivacyError where the model lacks what is
    to be released.
    """

    uses: ClassVar[tuple[str, ...]] = ("scipy",)
    name = "Gaussian noise on each client's update"
    against = "the server and all who see the update"
    unit = "a client's whole data"
    accountant = gaussian.ACCOUNTANT
    trusts_server = False  # clients send what is released without noise, the server adds it
    clients: Generators | None = None
    """What the clients of a network draw from; None where `privatise` stands for them."""

    def __init__(self, scenario: Scenario, facts: Facts, noise: NoiseSource | None = None) -> None:
        assert scenario.clip_norm is not None
        self.scenario, self.facts = scenario, facts
        self.noise = noise or SeededNoise(facts.seed)
        self.clip_norm = scenario.clip_norm
        self.delta = scenario.delta
        self.release = self.release_of(scenario, facts.layout)
        self.version = f"fedcore {__version__}"
        self.stopped: int | None = None
        self._costs = [0.0] * len(facts.samples)
        self._releases = [0] * len(facts.samples)
        self._clipped = self._broken = 0

    @classmethod
    def trains(cls, scenario: Scenario) -> bool:
        """Whether local training itself must differ, which takes an engine that knows how."""
        frozen_norms = scenario.norm == "batch" and scenario.buffers == "frozen"
        return scenario.released == "head" or frozen_norms

    @classmethod
    def release_of(cls, scenario: Scenario, layout: Layout) -> Release:
        """What is released of an update: of the parameters, and of buffers. PrivacyError."""
        return Release.of(layout, scenario.released or "whole", scenario.buffers or "frozen")

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Deviation of the noise on one coordinate of a release."""

    @property
    @abstractmethod
    def sensitivity(self) -> float:
        """Distance of neighbouring releases that ``sigma`` is measured against."""

    @property
    def relation(self) -> str:
        """Which data are neighbours, in words."""
        return RELATIONS[self.scenario.neighbours or "replace"]

    @property
    def epsilon_nominal(self) -> float | None:
        """What the mechanism's own formula says of one release."""
        return self.scenario.epsilon

    def cost(self, client: int, cohort: Sequence[int]) -> float:
        """What one release of ``client`` in ``cohort`` adds to its account: mu^2."""
        return (self.sensitivity / self.sigma) ** 2 if self.sigma else math.inf

    def epsilon(self, client: int, cost: float) -> float:
        """The total epsilon of ``client`` whose account stands at ``cost``; may be infinite."""
        if math.isinf(cost) or self.delta is None:
            return math.inf if cost else 0.0
        return gaussian.epsilon_of(math.sqrt(cost), self.delta)

    def affordable(self, cohorts: Cohorts) -> Cohorts:
        """The rounds before the first in which some client would exceed the budget; all without.

        Raises PrivacyError if not even the first round fits.
        """
        budget = self.scenario.epsilon_budget
        if budget is None:
            return cohorts
        costs = [0.0] * len(self.facts.samples)
        for index, cohort in enumerate(cohorts):
            for client in cohort:
                costs[client] += self.cost(client, cohort)
                total = self.epsilon(client, costs[client])
                if total <= budget * (1 + _SLACK):
                    continue
                if index == 0:
                    raise PrivacyError(
                        f"epsilon_budget={budget:g} is less than the epsilon {total:.4g} of a "
                        "single release: raise it, or release less"
                    )
                self.stopped = index + 1
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
        if self.clients is None:
            cohort = self.at_client(state, cohort, round)
        elif self.trusts_server and self.clients.secret:
            self.noise = SecureNoise()  # of real clients, who know the seed of the run
        cohort = self.at_server(state, cohort, round)
        self.charge(cohort.clients if asked is None or self.trusts_server else asked)
        return cohort

    def at_client(self, state: ServerState, cohort: Cohort, round: int) -> Cohort:
        """What leaves the clients of ``cohort``, in its place: zeros stand for what does not."""
        counters = cohort.counters
        if not self.release.buffers:
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
            self._costs[client] += self.cost(client, clients)
            self._releases[client] += 1

    def _updates(self, state: ServerState, cohort: Cohort, round: int) -> torch.Tensor:
        """Clipped to the norm and noised, each client from its own stream; [K, D]."""
        rows = self._clip(self.release.take(cohort.updates))
        if self.sigma:
            for row, client in zip(rows, cohort.clients, strict=True):
                drawn = self.noise.normal(len(row), round=round, client=client)
                row.add_(drawn.to(row.device), alpha=self.sigma)
        return self.release.put(rows, cohort.updates, state.vector)

    def _clip(self, rows: torch.Tensor) -> torch.Tensor:
        rows, long, broken = clip_rows(rows, self.clip_norm)
        self._clipped += int(long.sum())
        self._broken += int(broken.sum())
        return rows

    def notes(self) -> tuple[str, ...]:
        """What the statement must add."""
        return (self.place, IN_CLEAR, ATTACKERS)

    @property
    def place(self) -> str:
        """Where the mechanism runs, in words."""
        return SIMULATED if self.clients is None else AT_CLIENT

    def statement(self) -> PrivacyStatement:
        """The statement about all releases so far."""
        made = sum(self._releases)
        totals = [self.epsilon(client, cost) for client, cost in enumerate(self._costs)]
        first = self.epsilon_once()
        away = self.clients is not None and not self.trusts_server
        return PrivacyStatement(
            mechanism=self.name,
            unit=self.unit,
            relation=self.relation,
            against=self.against,
            released=self.release.description,
            dimension=self.release.dimension,
            clip_norm=self.clip_norm,
            sensitivity=self.sensitivity,
            sigma=self.sigma,
            delta=self.delta,
            epsilon_nominal=self.epsilon_nominal,
            epsilon_round=_finite(first),
            epsilon_total=_finite(max(totals, default=0.0)),
            epsilons=tuple(_finite(total) for total in totals),
            participations=tuple(self._releases),
            accountant=self.accountant,
            version=self.version,
            generator=self.clients.description if away and self.clients else self.noise.description,
            budget=self.scenario.epsilon_budget,
            stopped=self.stopped,
            clipped=self._clipped / made if made and not away else None,
            non_finite=None if away else self._broken,
            notes=self.notes(),
        )

    def epsilon_once(self) -> float:
        """The true epsilon of one release, of the client with the largest; may be infinite."""
        return self.epsilon(0, self.cost(0, (0,)))


def budget_problems(scenario: Scenario, epsilon: float | None) -> list[str]:
    """A budget that the first release exceeds."""
    budget = scenario.epsilon_budget
    if budget is None or epsilon is None or budget * (1 + _SLACK) >= epsilon:
        return []
    return [
        f"epsilon_budget={budget:g} is less than the epsilon {epsilon:.4g} of a single release: "
        "raise it, or lower epsilon"
    ]


def buffer_problems(scenario: Scenario) -> list[str]:
    """Batch normalisation whose server would score with statistics that nobody computed."""
    if scenario.norm == "batch" and scenario.buffers == "local" and scenario.weights is None:
        return [
            "buffers='local' leaves the server without running statistics to score "
            "norm='batch' with: set buffers='frozen' or 'released', give weights, or set "
            "norm='group'"
        ]
    return []


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
