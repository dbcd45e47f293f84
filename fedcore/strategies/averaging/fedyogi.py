"""FedYogi: FedAdam whose second moment moves by a bounded amount."""

from __future__ import annotations

import torch

from fedcore.strategies.averaging.adaptive import AdaptiveServer
from fedcore.strategies.definitions import FEDYOGI
from fedcore.strategies.strategy import STRATEGIES


@STRATEGIES.register("fedyogi", "Yogi on the server (Reddi et al. 2021)")
class FedYogi(AdaptiveServer):
    """v = v - (1 - beta_2) d^2 sign(v - d^2); see `AdaptiveServer`.

    Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated
    Optimization", ICLR 2021, algorithm 2.
    """

    definition = FEDYOGI

    def second_moment(self, second: torch.Tensor, square: torch.Tensor) -> None:
        second.sub_((second - square).sign_().mul_(square), alpha=1 - self.beta_2)
