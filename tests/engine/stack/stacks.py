"""Stacked networks with weights of their own for every client, and clients unlike in size."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from fedcore.engine.stack.network import StackedNetwork
from fedcore.exchange.layout import Layout
from fedcore.scenario import Scenario

CLIENTS, BATCH = 3, 5
#: Five clients whose samples, batches and epochs differ.
RAGGED = Scenario(
    dataset="synthetic:90",
    model="mlp",
    norm="batch",
    num_clients=5,
    fraction_train=1.0,
    local_epochs=(1, 3),
    batch_size=8,
    partition="dirichlet",
    alpha=0.5,
    min_partition_size=2,
    partition_seed=1,
)


def stack_of(model: nn.Module, clients: int = CLIENTS):
    """(network, a model per client with its own random weights, their vectors, counters, grads)."""
    layout = Layout.of(model)
    generator = torch.Generator().manual_seed(3)
    models = [copy.deepcopy(model) for _ in range(clients)]
    for one in models:
        for tensor in one.state_dict().values():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, dtype=tensor.dtype, generator=generator)
                tensor.copy_(0.5 + noise / 2)  # positive: running variances are among them
    flat = [layout.flatten(one.state_dict()) for one in models]
    vectors = torch.stack([vector for vector, _ in flat])
    counters = torch.stack([counter for _, counter in flat])
    gradients = torch.empty(clients, layout.num_parameters, dtype=torch.float64)
    network = StackedNetwork(model, layout)
    network.bind(vectors, counters, gradients)
    gradients.fill_(9)  # solvers leave scratch there
    return network, models, layout, vectors, counters, gradients


def set_sizes(network: StackedNetwork, sizes: tuple[int, ...]) -> None:
    """Batches of these many samples, padded to the longest."""
    longest = max(sizes)
    network.context.sizes = sizes
    if len(set(sizes)) > 1:
        counts = torch.tensor(sizes, dtype=torch.float64)
        own = torch.arange(longest) < counts[:, None]
        network.context.share, network.context.counts = own / counts[:, None], counts


class Calls(nn.Module):
    """Applies ``call`` between two layers."""

    def __init__(self, call: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.first, self.call = nn.Conv2d(2, 4, 3), call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.first(x))
