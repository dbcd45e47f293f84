"""FedAvgM: FedAvg with momentum on the server."""

from __future__ import annotations

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.definitions import FEDAVGM
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine, with_server_momentum


@STRATEGIES.register("fedavgm", "FedAvg with server momentum (Hsu et al. 2019)")
class FedAvgM(Strategy):
    """v = beta v + sum_i p_i u_i; x+ = x + server_lr v. beta = 0 and server_lr = 1 are FedAvg.

    Source: Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification", 2019, section 4.3.
    """

    definition = FEDAVGM
    server_momentum: float = param(
        "server momentum", default=0.9, low=0, high=1, open_high=True, token="gmf"
    )
    server_lr: float = param("server learning rate", default=1.0, low=0, open_low=True, token="slr")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        mean = combine(updates, cohort.weights)
        return self.server_lr * with_server_momentum(mean, memory, self.server_momentum)
