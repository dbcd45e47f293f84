"""FedBN: FedAvg whose clients keep their own BatchNorm layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.definitions import FEDAVG
from fedcore.strategies.strategy import STRATEGIES

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("fedbn", "FedAvg, BatchNorm layers stay with the clients (Li et al. 2021)")
class FedBN(FedAvg):
    """Clients start a round from the global model but for their own BatchNorm layers.

    A client that takes part for the first time starts from the global ones, which the server
    averages too: the central test set is scored with them.
    Source: Li, Jiang, Zhang, Kamp, Dou, "FedBN", ICLR 2021, algorithm 1.
    """

    definition = FEDAVG
    keeps_batch_norm = True

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.norm == "batch":
            return []
        return [
            f"strategy 'fedbn' without BatchNorm layers is FedAvg, got norm={scenario.norm!r} "
            f"for model {scenario.model!r}: set norm='batch'"
        ]
