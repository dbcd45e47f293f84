"""FedAvg: the sample-weighted mean of the cohort's updates."""

from __future__ import annotations

import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.definitions import FEDAVG
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine


@STRATEGIES.register("fedavg", "sample-weighted mean (McMahan et al. 2017)")
class FedAvg(Strategy):
    """x+ = x + sum_i p_i u_i, p_i = n_i / sum n_j over the cohort.

    Source: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, AISTATS 2017, algorithm 1.
    """

    definition = FEDAVG

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return combine(updates, cohort.weights)
