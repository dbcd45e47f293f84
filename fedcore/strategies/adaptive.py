"""Adaptive server optimizers: what FedAdam and FedYogi share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.strategy import Strategy, combine

#: Parameters and defaults of both: beta_1, the step, beta_2, and what is added to the root.
PARAMETERS: dict[str, Any] = {
    "server_momentum": 0.9,
    "server_lr": 0.03,
    "beta_2": 0.99,
    "tau": 1e-3,
}


class AdaptiveServer(Strategy):
    """m = beta_1 m + (1 - beta_1) d; x+ = x + server_lr m / (sqrt(v) + tau), d the mean update.

    d = sum_i p_i u_i with p_i = n_i / sum n_j; beta_1 is ``server_momentum``. m starts at 0 and the
    second moment v, which `second_moment` moves, at tau^2. As in the paper no bias is corrected.
    Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated
    Optimization", ICLR 2021, algorithm 2.
    """

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        assert self.scenario.server_momentum is not None
        assert self.scenario.server_lr is not None
        assert self.scenario.tau is not None
        mean = combine(updates, cohort.weights)
        first = memory.setdefault("first", torch.zeros_like(mean))
        second = memory.setdefault("second", torch.full_like(mean, self.scenario.tau**2))
        first.lerp_(mean, 1 - self.scenario.server_momentum)
        self.second_moment(second, mean.square())
        return self.scenario.server_lr * first / (second.sqrt() + self.scenario.tau)

    @abstractmethod
    def second_moment(self, second: torch.Tensor, square: torch.Tensor) -> None:
        """Move ``second`` [P] in place towards ``square`` [P], the squares of the mean update."""
