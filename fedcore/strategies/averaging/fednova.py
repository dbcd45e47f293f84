"""FedNova: normalised averaging, which removes the bias of unequal local work."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.optimizers.solvers import partial_sums
from fedcore.strategies.definitions import FEDNOVA
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine, with_server_momentum

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# The least share of the greatest sum of coefficients that a sum must keep, and the local steps
# (epochs times any number of batches) up to which that is asked for.
_LEAST, _REACH = 0.01, 4096


@STRATEGIES.register("fednova", "normalised averaging (Wang et al. 2020)")
class FedNova(Strategy):
    """x+ = x + tau_eff * sum_i p_i u_i / A_i, tau_eff = sum_i p_i A_i.

    a_i is the vector by which client i's solver accumulates its gradients, and A_i the sum of its
    coefficients, which comes with the cohort. The paper's a_i has no negative coefficient, so that
    A_i = ||a_i||_1 there; those of a proximal solver with lr * mu > 1 alternate, and their signs
    count. A_i must exceed 1 % of the greatest sum on the way to it, else the scenario is refused:
    lr * mu = 2 brings a client back to its start at every second step. Equal work on all clients
    makes it FedAvg. Buffers are no gradients and take the plain mean. Server momentum (the paper's
    slow momentum) is FedAvgM's on the normalised step.
    Source: Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in
    Heterogeneous Federated Optimization", NeurIPS 2020, equations 7 and 8. For proximal solvers
    the authors' code takes tau_eff = sum_i p_i tau_i; here it is the paper's definition.
    """

    definition = FEDNOVA
    server_momentum: float = param(
        "server momentum", default=0.0, low=0, high=1, open_high=True, token="gmf"
    )
    server_lr: float = param("server learning rate", default=1.0, low=0, open_low=True, token="slr")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        step = combine(updates, self.coefficients(cohort))
        return self.server_lr * with_server_momentum(step, memory, self.server_momentum)

    @staticmethod
    def coefficients(cohort: Cohort) -> torch.Tensor:
        """c_i = p_i * (tau_eff / A_i), [K] float64; p_i itself where work is equal."""
        weights = cohort.weights
        normalizers = [a for a in cohort.normalizers if a is not None]
        assert len(normalizers) == len(weights), "a solver without a normalizer is refused earlier"
        if len(set(normalizers)) == 1:
            return weights  # exactly FedAvg's, where the rounding of tau_eff might miss it
        tau_eff = math.fsum(float(p) * a for p, a in zip(weights, normalizers, strict=True))
        return weights * (tau_eff / torch.tensor(normalizers, dtype=torch.float64))

    def problems(self, scenario: Scenario) -> list[str]:
        found = []
        mixing = [step for step in scenario.parts.preaggregation if not step.keeps_clients]
        if mixing:
            found.append(
                "strategy 'fednova' divides each client's update by the coefficients of its own "
                f"work, and the rows of preaggregation {str(mixing[0])!r} are of several clients: "
                "choose another strategy, or leave preaggregation out"
            )
        if scenario.parts.optimizer.solver(scenario).normalizer(1) is not None:
            return found + _vanishing(scenario)
        return [
            *found,
            "strategy 'fednova' needs a local solver with a fixed accumulation vector, and "
            f"optimizer={scenario.optimizer!r} has none: choose sgd, momentum or proximal",
        ]


def _vanishing(scenario: Scenario) -> list[str]:
    """The rule, where the sum of a_i vanishes or is negative after a number of steps in reach."""
    if not scenario.mu:
        return []  # no coefficient is negative, and the first is 1
    shrink, momentum = scenario.lr * scenario.mu, scenario.momentum or 0.0
    solver = momentum, scenario.dampening or 0.0, bool(scenario.nesterov), shrink
    weak = _weakest(solver, scenario.epochs_range, scenario.steps_range)
    if weak is None:
        return []
    steps, total, largest = weak
    return [
        "strategy 'fednova' divides by the sum of the solver's accumulation coefficients, which "
        f"must exceed {_LEAST:.0%} of the greatest on the way to it: with lr * mu = {shrink:g} and "
        f"momentum {momentum:g} it is {total:.3g} after {steps} local steps, and was "
        f"{largest:.3g}: lower lr or mu"
    ]


@lru_cache(maxsize=256)
def _weakest(
    solver: tuple[float, float, bool, float],
    epochs: tuple[int, int],
    counted: tuple[int, int] | None = None,
) -> tuple[int, float, float] | None:
    """The first steps in reach whose sum is too small, that sum, and the greatest up to it."""
    low, high = epochs
    largest = 0.0
    for steps, total in enumerate(partial_sums(_REACH, *solver), 1):
        largest = max(largest, total)
        if counted is not None:
            in_reach = counted[0] <= steps <= counted[1]
        else:
            in_reach = any(steps % count == 0 for count in range(low, min(high, steps) + 1))
        if in_reach and not total > _LEAST * largest:
            return steps, total, largest
    return None
