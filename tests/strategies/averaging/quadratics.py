"""Federations of quadratics: f_i(w) = sum a_i/2 (w - b_i)^2, whose common minimum is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.optimizers.local_rule import LocalRule, Participation
from fedcore.scenario import Scenario


@dataclass
class Quadratics:
    """Clients with curvatures ``a`` [N, P] and minima ``b`` [N, P], trained as engines do."""

    scenario: Scenario
    steps: tuple[int, ...] = (10, 2, 5)
    a: torch.Tensor = field(
        default_factory=lambda: torch.tensor([[1.0, 4.0], [3.0, 1.0], [0.5, 2.0]]).double()
    )
    b: torch.Tensor = field(
        default_factory=lambda: torch.tensor([[1.0, -2.0], [5.0, 0.0], [-3.0, 4.0]]).double()
    )

    def __post_init__(self) -> None:
        parts = self.scenario.parts
        self.strategy, self.solver = parts.strategy, parts.optimizer.solver(self.scenario)
        rules = (
            parts.strategy.local_rule(self.scenario),
            parts.optimizer.local_rule(self.scenario),
        )
        self.rules: list[LocalRule] = [rule for rule in rules if rule is not None]
        zeros = torch.zeros(2, dtype=torch.float64)
        self.kept = [
            {name: zeros.clone() for rule in self.rules for name in rule.keeps} for _ in self.a
        ]
        self.seen = [False] * len(self.a)
        self.state = ServerState(zeros.clone(), torch.zeros(0, dtype=torch.int64), Memory())
        self.state.memory.population = len(self.a)
        self.round = 0
        self.sent = torch.zeros(0)

    @property
    def optimum(self) -> np.ndarray:
        """Where the sum of the functions is least."""
        best: np.ndarray = ((self.a * self.b).sum(0) / self.a.sum(0)).numpy()
        return best

    def train(self, client: int, disturb: Callable[[], torch.Tensor] | None = None) -> torch.Tensor:
        """The update of ``client``; ``disturb`` adds noise to each gradient."""
        anchor, zeros = self.state.vector.clone(), torch.zeros(2, dtype=torch.float64)
        weights, steps = anchor.clone(), self.steps[client]
        told = {n: self.state.memory.get(n, zeros) for rule in self.rules for n in rule.told}
        work = Participation(
            self.round, client, steps, anchor, told, self.kept[client], not self.seen[client]
        )
        for rule in self.rules:
            rule.start(work)
        self.solver.start(anchor)
        for _ in range(steps):
            gradient = self.a[client] * (weights - self.b[client])
            gradient += 0 if disturb is None else disturb()
            for rule in self.rules:
                rule.before(weights, gradient)
            self.solver.step(weights, gradient)
        for rule in self.rules:
            rule.end(weights)
        self.seen[client] = True
        return weights - anchor

    def advance(self, clients: tuple[int, ...] = (0, 1, 2), **how: Any) -> torch.Tensor:
        """One round; the model after it."""
        self.round += 1
        self.sent = torch.stack([self.train(client, **how) for client in clients])
        steps = tuple(self.steps[client] for client in clients)
        cohort = Cohort(
            clients, self.sent, torch.zeros(len(clients), 0, dtype=torch.int64),
            (1,) * len(clients), steps, tuple(self.solver.normalizer(s) for s in steps),
        )  # fmt: skip
        self.state = self.strategy.aggregate(self.state, cohort, 2)
        return self.state.vector

    def gap(
        self, rounds: int, cohorts: Callable[[int], tuple[int, ...]] = lambda r: (0, 1, 2)
    ) -> float:
        """How far the model is from the optimum after ``rounds``."""
        for number in range(rounds):
            self.advance(cohorts(number))
        return float(np.abs(self.state.vector.numpy() - self.optimum).max())
