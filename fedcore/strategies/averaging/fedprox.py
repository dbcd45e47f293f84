"""FedProx: FedAvg whose clients are held near the global model by a proximal term."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.components.parameters import param
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.definitions import FEDAVG
from fedcore.strategies.strategy import STRATEGIES

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("fedprox", "FedAvg, clients with a proximal term (Li et al. 2020)")
class FedProx(FedAvg):
    """Clients minimise F_i(w) + mu/2 ||w - x||^2; the server averages. mu -> 0 is FedAvg.

    The term is applied by the local solver. Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith,
    "Federated Optimization in Heterogeneous Networks", MLSys 2020, equation 2.
    """

    definition = FEDAVG
    mu: float = param(
        "proximal coefficient", default=0.01, low=0, open_low=True, token="mu", shared=True
    )

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.optimizer in ("sgd", "momentum"):
            return []
        return [
            f"strategy 'fedprox' adds the proximal term to optimizer sgd or momentum itself, "
            f"got optimizer={scenario.optimizer!r}: choose one of these"
        ]
