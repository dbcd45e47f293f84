"""Adaptive server optimizers: what FedAdam and FedYogi share."""

from __future__ import annotations

from abc import abstractmethod

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.strategy import Strategy, combine


class AdaptiveServer(Strategy):
    """m = beta_1 m + (1 - beta_1) d; x+ = x + server_lr m / (sqrt(v) + tau), d the mean update.

    d = sum_i p_i u_i with p_i = n_i / sum n_j; beta_1 is ``server_momentum``. m starts at 0 and the
    second moment v, which `second_moment` moves, at tau^2. As in the paper no bias is corrected.
    Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated
    Optimization", ICLR 2021, algorithm 2.
    """

    server_momentum: float = param(
        "server momentum", default=0.9, low=0, high=1, open_high=True, token="gmf"
    )
    server_lr: float = param(
        "server learning rate", default=0.03, low=0, open_low=True, token="slr"
    )
    beta_2: float = param(
        "decay of the server's second moment",
        default=0.99,
        low=0,
        high=1,
        open_high=True,
        token="beta",
    )
    tau: float = param(
        "added to the root of the second moment", default=1e-3, low=0, open_low=True, token="tau"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        mean = combine(updates, cohort.weights)
        first = memory.setdefault("first", torch.zeros_like(mean))
        second = memory.setdefault("second", torch.full_like(mean, self.tau**2))
        first.lerp_(mean, 1 - self.server_momentum)
        self.second_moment(second, mean.square())
        return self.server_lr * first / (second.sqrt() + self.tau)

    @abstractmethod
    def second_moment(self, second: torch.Tensor, square: torch.Tensor) -> None:
        """Move ``second`` [P] in place towards ``square`` [P], the squares of the mean update."""
