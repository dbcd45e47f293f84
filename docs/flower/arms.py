"""The strategies that hostile replies are tried on, over the small model of `docs.flower.forms`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from flwr.serverapp.strategy import Strategy
from torch import nn

from docs.flower.forms import CLIENTS, SHAPES
from fedcore.exchange.layout import Layout
from fedcore.flower.foreign import build
from fedcore.flower.replies import ClientFacts
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.scenario import Scenario
from fedcore.strategies.foreign import Spec
from fedcore.strategies.strategy import STRATEGIES

#: Flower's own strategies, with their keywords in JSON.
STOCK = {
    "FedAvg": "",
    "FedAvgM": "",
    "FedProx": ':{"proximal_mu": 0.1}',
    "FedMedian": "",
    "FedTrimmedAvg": ':{"beta": 0.2}',
    "Krum": ':{"num_malicious_nodes": 1}',
    "MultiKrum": ':{"num_malicious_nodes": 1, "num_nodes_to_select": 5}',
    "Bulyan": ':{"num_malicious_nodes": 1}',
    "FedAdam": "",
    "FedYogi": "",
}
_EXTRA: dict[str, dict[str, Any]] = {"fedbn": {"norm": "batch"}}
#: FLTrust needs more than Flower's own loop; what clients keep does not go over Flower.
_ELSEWHERE = ("flower", "fltrust", "scaffold", "feddyn")


class Model(nn.Module):
    """The tensors of `docs.flower.forms`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SHAPES["weight"]))
        self.bias = nn.Parameter(torch.zeros(SHAPES["bias"]))
        self.register_buffer("running_var", torch.zeros(SHAPES["running_var"]))
        self.register_buffer("steps", torch.tensor(5))


def own_names() -> list[str]:
    """Fedcore's strategies that Flower's own loop can run."""
    return [
        name
        for name in STRATEGIES
        if name not in _ELSEWHERE and STRATEGIES[name].__module__.startswith("fedcore.")
    ]


def own(
    name: str, known: Callable[[int], ClientFacts] | None = None
) -> Callable[[], FedcoreStrategy]:
    """What makes fedcore's strategy ``name``, with all clients in each round."""
    fields: dict[str, Any] = {"strategy": name, "optimizer": "sgd", **_EXTRA.get(name, {})}
    scenario = Scenario(num_clients=CLIENTS, fraction_train=1.0, **fields)
    layout, everyone = Layout.of(Model()), tuple(range(CLIENTS))
    return lambda: FedcoreStrategy(scenario, layout, lambda round: everyone, known=known)


def stock(
    name: str, wrap: Callable[[Strategy], Strategy] = lambda strategy: strategy
) -> Callable[[], Strategy]:
    """What makes Flower's strategy ``name``, within ``wrap``."""
    text = f"flwr.serverapp.strategy:{name}{STOCK[name]}"
    return lambda: wrap(build(Spec.parse(text)))
