"""FedAdam: the server takes the mean update for a gradient of Adam."""

from __future__ import annotations

import torch

from fedcore.strategies.averaging.adaptive import AdaptiveServer
from fedcore.strategies.definitions import FEDADAM
from fedcore.strategies.strategy import STRATEGIES


@STRATEGIES.register("fedadam", "Adam on the server (Reddi et al. 2021)")
class FedAdam(AdaptiveServer):
    """v = beta_2 v + (1 - beta_2) d^2; see `AdaptiveServer`.

    Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated
    Optimization", ICLR 2021, algorithm 2.
    """

    definition = FEDADAM

    def second_moment(self, second: torch.Tensor, square: torch.Tensor) -> None:
        second.lerp_(square, 1 - self.beta_2)
