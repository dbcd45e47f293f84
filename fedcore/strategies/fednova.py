"""FedNova: normalised averaging, which removes the bias of unequal local work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from fedcore.strategies.base import STRATEGIES, Cohort, Strategy, combine, with_server_momentum

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register(
    "fednova", "normalised averaging (Wang et al. 2020)", server_momentum=0.0, server_lr=1.0
)
class FedNova(Strategy):
    """x+ = x + tau_eff * sum_i p_i u_i / ||a_i||_1, tau_eff = sum_i p_i ||a_i||_1.

    a_i is the vector by which client i's solver accumulates its gradients; its 1-norm comes with
    the cohort. Equal work on all clients makes it FedAvg. Buffers are no gradients and take the
    plain mean. Server momentum (the paper's slow momentum) is FedAvgM's on the normalised step.
    Source: Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in
    Heterogeneous Federated Optimization", NeurIPS 2020, equations 7 and 8. For proximal solvers
    the authors' code takes tau_eff = sum_i p_i tau_i; here it is the paper's definition.
    """

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        assert self.scenario.server_momentum is not None
        assert self.scenario.server_lr is not None
        step = combine(updates, self.coefficients(cohort))
        return self.scenario.server_lr * with_server_momentum(
            step, memory, self.scenario.server_momentum
        )

    @staticmethod
    def coefficients(cohort: Cohort) -> torch.Tensor:
        """c_i = p_i * (tau_eff / ||a_i||_1), [K] float64; p_i itself where work is equal."""
        weights = cohort.weights
        normalizers = [a for a in cohort.normalizers if a is not None]
        assert len(normalizers) == len(weights), "a solver without a normalizer is refused earlier"
        if len(set(normalizers)) == 1:
            return weights  # exactly FedAvg's, where the rounding of tau_eff might miss it
        tau_eff = math.fsum(float(p) * a for p, a in zip(weights, normalizers, strict=True))
        return weights * (tau_eff / torch.tensor(normalizers, dtype=torch.float64))

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        # by steps, as normalizers that do not know them would make this FedAvg; where they settle
        # as the steps grow, unequal steps can truly have one
        settles = self.scenario.mu or self.scenario.dampening
        unequal = len(set(cohort.normalizers if settles else cohort.steps)) > 1
        moving = "momentum" in memory and bool(self.scenario.server_momentum)
        return unequal or moving or self.scenario.server_lr != 1

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        if scenario.optimizer != "adam":
            return []
        return [
            "strategy 'fednova' needs a local solver with a fixed accumulation vector, and "
            "optimizer='adam' has none: choose sgd, momentum or proximal"
        ]
