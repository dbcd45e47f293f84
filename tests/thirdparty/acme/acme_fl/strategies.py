"""A strategy with a parameter."""

import torch

from fedcore.components import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine


@STRATEGIES.register("halfway", "goes a part of the way that FedAvg goes")
class Halfway(Strategy):
    """x' = x + share * sum_i w_i u_i with FedAvg's weights w; share = 1 is FedAvg."""

    share: float = param("part of FedAvg's step", default=0.5, low=0, high=1, open_low=True)

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """``share`` of FedAvg's step, [P]."""
        return self.share * combine(updates, cohort.weights)

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        """Whether FedAvg would have gone further: unless nobody has moved, which is not known."""
        return self.share < 1
