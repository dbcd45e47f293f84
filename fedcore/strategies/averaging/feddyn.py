"""FedDyn: dynamic regularisation, whose stationary points are those of the global objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.optimizers.local_rule import LocalRule, Participation, private_steps_problems
from fedcore.strategies.averaging.scaffold import chain_problems
from fedcore.strategies.definitions import Definition, Expected, View, linear
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

DRIFT, WAY = "drift", "way"


@STRATEGIES.register("feddyn", "dynamic regularisation of each client (Acar et al. 2021)")
class FedDyn(Strategy):
    """Clients minimise L_k(w) - <h_k, w> + alpha_dyn/2 |w - x|^2; the server adds -h / alpha_dyn.

    After its work a client has h_k+ = h_k - alpha_dyn (w_k - x); the server has h+ = h - alpha_dyn
    / N times the sum of the cohort's updates, N the number of all clients, and moves by the plain
    mean of the updates less h+ / alpha_dyn. So the first step is longer than FedAvg's: twice as
    long where all clients take part.

    Stored are -h / alpha_dyn and -h_k / alpha_dyn, which are sums of updates. Every client counts
    once, as in the paper; float buffers are averaged by samples. An attack on updates reaches h,
    whereas the attacker's own h_k is that of its honest work. The model is the server's x, which
    clients start from; the authors' code evaluates the mean of the clients' models as well.
    Source: Acar, Zhao, Matas, Mattina, Whatmough, Saligrama, "Federated Learning Based on Dynamic
    Regularization", ICLR 2021, algorithm 1.
    """

    definition = Definition(
        "the plain mean of the updates and of all that clients have ever sent",
        lambda view: _feddyn(view),
    )
    alpha_dyn: float = param(
        "weight of the regulariser, alpha in the paper", default=0.1, low=0, open_low=True,
        token="adyn",
    )  # fmt: skip

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size = len(updates)
        clients = Memory.of(memory).population or size
        mean = combine(updates, torch.full((size,), 1 / size, dtype=torch.float64))
        drift = memory.get(DRIFT)
        moved = (size / clients) * mean
        memory[DRIFT] = moved if drift is None else drift + moved
        return mean + memory[DRIFT]

    def local_rule(self, scenario: Scenario) -> LocalRule:
        """See `DynamicRegulariser`."""
        return DynamicRegulariser(self.alpha_dyn)

    def problems(self, scenario: Scenario) -> list[str]:
        """A solver with a proximal term or a rule of its own, pre-aggregation, privacy."""
        problems = private_steps_problems("strategy 'feddyn'", scenario)
        if scenario.mu or scenario.parts.optimizer.local_rule(scenario) is not None:
            problems.append(
                "strategy 'feddyn' brings the proximal term and what clients keep itself, got "
                f"optimizer={scenario.optimizer!r}: choose sgd, momentum or adam"
            )
        return problems + chain_problems("feddyn", scenario)


class DynamicRegulariser(LocalRule):
    """What a client of FedDyn does: see `FedDyn`."""

    keeps = (WAY,)

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def start(self, work: Participation) -> None:
        self._work = work
        self._offset = work.kept[WAY] - work.anchor

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient.add_(weights, alpha=self._alpha).add_(self._offset, alpha=self._alpha)

    def end(self, weights: torch.Tensor) -> None:
        self._work.kept[WAY].add_(weights - self._work.anchor)


def _feddyn(view: View) -> Expected:
    """Algorithm 1 once more, h and x divided by alpha."""
    size = len(view.rows)
    clients = size if view.population is None else view.population
    mean = linear(view, np.full(size, 1 / size))
    before = view.memory.get(DRIFT, np.zeros_like(mean.step))
    drift = before + view.rows.sum(axis=0) / clients
    error = mean.error * size / clients + 2 * view.unit * (np.abs(before) + np.abs(drift))
    step = mean.step + drift
    off = mean.error + error + view.unit * np.abs(step)
    return Expected(step, off, {DRIFT: (drift, error + view.least)})
