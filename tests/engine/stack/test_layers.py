"""Every stacked layer and function against the layer itself, client by client, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.dropout import StreamDropout
from tests.engine.stack.stacks import BATCH, CLIENTS, Calls, set_sizes, stack_of


def check(model: nn.Module, shape: tuple[int, ...], sizes: tuple[int, ...] = (BATCH,) * CLIENTS):
    """Outputs, gradients of parameters, statistics and counters equal each client's own."""
    model = model.double().train()
    network, models, layout, vectors, counters, gradients = stack_of(model)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(CLIENTS, max(sizes), *shape, dtype=torch.float64, generator=generator)
    set_sizes(network, sizes)
    for generators in range(len(network.context.generators)):
        network.context.generators[generators] = [
            torch.Generator().manual_seed(k) for k in range(CLIENTS)
        ]
    stacked = network(x.clone())
    weights = torch.randn(stacked.shape, dtype=torch.float64, generator=generator)
    loss = sum((stacked[k, :n] * weights[k, :n]).sum() for k, n in enumerate(sizes))
    network.backward(loss)
    for k, (one, n) in enumerate(zip(models, sizes, strict=True)):
        for dropout in (m for m in one.modules() if isinstance(m, StreamDropout)):
            dropout.seed(torch.Generator().manual_seed(k))
        own = one(x[k, :n].clone())
        torch.testing.assert_close(stacked[k, :n], own, rtol=1e-9, atol=1e-9)
        one.zero_grad()
        (own * weights[k, :n]).sum().backward()
        vector, counter = layout.flatten(one.state_dict())
        torch.testing.assert_close(vectors[k], vector, rtol=1e-9, atol=1e-9)
        assert torch.equal(counters[k], counter)
        for e, parameter in zip(layout.entries, one.parameters(), strict=False):
            expected = torch.zeros(e.shape) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(
                e.view(gradients[k]), expected.double(), rtol=1e-9, atol=1e-8
            )


MAP_LAYERS = [
    nn.Conv2d(2, 6, 3, padding=1),
    nn.Conv2d(2, 6, 3, stride=2, bias=False),
    nn.Conv2d(2, 4, 3, groups=2, dilation=2),
    nn.Conv2d(2, 4, (1, 3), padding="same"),
    nn.Conv2d(2, 6, 1, stride=2),
    nn.Conv2d(2, 6, 1, padding=1),
    nn.Conv2d(2, 2, 1, groups=2),
    nn.BatchNorm2d(2),
    nn.BatchNorm2d(2, affine=False, momentum=0.3),
    nn.BatchNorm2d(2, track_running_stats=False),
    nn.GroupNorm(2, 2),
    nn.GroupNorm(1, 2, affine=False),
    nn.LayerNorm([2, 6, 6]),
    nn.LayerNorm(6, bias=False),
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.AvgPool2d(2),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveMaxPool2d((2, 3)),
    nn.ZeroPad2d(1),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardswish(inplace=True),
    nn.Hardsigmoid(),
    nn.SiLU(),
    nn.LeakyReLU(0.1),
    nn.Identity(),
    StreamDropout(0.3),
    StreamDropout(0.0),
    StreamDropout(1.0),
    nn.Flatten(1, 2),
    nn.Linear(6, 3),
]


@pytest.mark.parametrize("sizes", [(5, 5, 5), (5, 2, 3)], ids=["equal", "ragged"])
@pytest.mark.parametrize("layer", MAP_LAYERS, ids=repr)
def test_layers_of_maps(layer: nn.Module, sizes: tuple[int, ...]) -> None:
    check(nn.Sequential(nn.Conv2d(2, 2, 1), layer), (2, 6, 6), sizes)


@pytest.mark.parametrize("sizes", [(5, 5, 5), (5, 2, 3)], ids=["equal", "ragged"])
@pytest.mark.parametrize(
    "layer",
    [nn.Linear(4, 3), nn.Linear(4, 3, bias=False), nn.BatchNorm1d(4), nn.GroupNorm(2, 4)],
    ids=repr,
)
def test_layers_of_vectors(layer: nn.Module, sizes: tuple[int, ...]) -> None:
    check(nn.Sequential(nn.Linear(4, 4), layer, nn.ReLU(inplace=True)), (4,), sizes)


def test_a_norm_without_weights_before_a_layer_that_writes_in_place() -> None:
    layers = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, affine=False), nn.ReLU(inplace=True)
    check(nn.Sequential(*layers), (2, 4, 4), (4, 3, 4))


def shuffled(x: torch.Tensor) -> torch.Tensor:
    """ShuffleNet's channel shuffle."""
    batch, channels, height, width = x.size()
    grouped = x.view(batch, 2, channels // 2, height, width)
    return torch.transpose(grouped, 1, 2).contiguous().view(batch, -1, height, width)


CALLS: dict[str, Callable[..., torch.Tensor]] = {
    "residual": lambda x: x + F.relu(x),
    "arithmetic": lambda x: torch.add(x, x) * torch.sigmoid(x) - 1,
    "flatten": lambda x: torch.flatten(x, 1),
    "flatten-method": lambda x: x.flatten(start_dim=-2),
    "adaptive-pool": lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
    "max-pool": lambda x: F.max_pool2d(x, 2),
    "avg-pool": lambda x: F.avg_pool2d(F.relu6(x), 2),
    "mean-method": lambda x: x.mean([2, 3]),
    "mean": lambda x: torch.mean(x, dim=-1, keepdim=True),
    "cat": lambda x: torch.cat([x, F.silu(x)], 1),
    "chunk": lambda x: x.chunk(2, dim=1)[0] * x.chunk(2, dim=1)[1],
    "view": lambda x: x.view(x.size(0), -1),
    "reshape": lambda x: x.reshape((-1, 4, 16)),
    "shuffle": shuffled,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls(call: Callable[..., torch.Tensor]) -> None:
    check(Calls(call), (2, 6, 6), (3, 4, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.mean(0), "along the batch dimension"),
        (lambda x: torch.cat([x, x]), "along the batch dimension"),
        (lambda x: x.mean(-4), "along the batch dimension"),
        (lambda x: x.view(4, -1), "mixes samples"),
        (lambda x: x + x.mean([2, 3]), "tensors of 4 and 2 dimensions"),
        (lambda x: x[:, 0], "indexes a tensor"),
    ],
    ids=["mean", "cat", "negative", "view", "ranks", "index"],
)
def test_calls_that_would_mix_samples(call, message: str) -> None:
    network, *_ = stack_of(Calls(call).double())
    set_sizes(network, (5,) * CLIENTS)
    with pytest.raises(ModelError, match=message):
        network(torch.randn(CLIENTS, BATCH, 2, 6, 6, dtype=torch.float64))


def test_a_layer_that_is_not_used_has_no_gradient() -> None:
    model = Calls(lambda x: x)
    model.spare = nn.Linear(2, 2)
    check(model, (2, 6, 6))
    check(Aside(), (4,))


class Aside(nn.Module):
    """Its second layer is called, but has no part in the result."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.second(x)
        return self.first(x)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(F.relu(self.block(x)))


def test_a_layer_that_is_used_twice() -> None:
    check(Twice(), (4,), (5, 3, 4))


def test_masked_norm_has_the_right_gradient() -> None:
    from fedcore.engine.stack.norms import MaskedNorm

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    own = torch.tensor([[1 / 3] * 3, [0.5, 0.5, 0.0]], dtype=torch.float64) / 2
    weights = own.view(2, 3, 1, 1)
    # padding reaches no loss: its rows' gradients arrive as zeros
    used = (weights > 0).double()
    assert torch.autograd.gradcheck(lambda t: MaskedNorm.apply(t, weights, 1e-3)[0] * used, x)
