"""Which networks can be stacked, and what is said of those that cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedcore.engine.stack.network import StackedNetwork
from fedcore.errors import ModelError
from fedcore.exchange.layout import Layout
from fedcore.models.dropout import StreamDropout
from tests.engine.stack.stacks import Calls, set_sizes, stack_of


class Nested(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(2, 2, 1), inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class OwnTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Nested(nn.Bilinear(2, 2, 2)), r"layer 'block.1' \(Bilinear\).*no rule.*'sequential'"),
        (Nested(nn.InstanceNorm2d(2)), r"layer 'block.1' \(InstanceNorm2d\)"),
        (Nested(nn.BatchNorm2d(2, momentum=None)), r"'block.1' \(BatchNorm2d\).*momentum=None"),
        (Nested(nn.Conv2d(2, 2, 3, padding_mode="reflect")), r"'block.1' \(Conv2d\).*'reflect'"),
        (Nested(nn.Flatten(0)), r"'block.1' \(Flatten\).*start_dim must be 1, got 0"),
        (Nested(nn.BatchNorm2d(2).eval()), r"'block.1' \(BatchNorm2d\).*evaluation mode"),
        (Nested(Branching()), "forward of Nested cannot be traced"),
        (Nested(OwnTensor()), r"'block.1' \(OwnTensor\).*belongs to no layer"),
        (Calls(lambda x: torch.cumsum(x, 1)), r"no rule for this call in its forward \(cumsum\)"),
        (Calls(lambda x: x.cumprod(1)), r"no rule for this call in its forward \(cumprod\)"),
    ],
    ids=[
        *("bilinear", "instance-norm", "momentum", "padding", "start-dim", "evaluation"),
        *("branching", "own-tensor", "function", "method"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        StackedNetwork(model, Layout.of(model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mnasnet0_5", "shufflenet_v2_x0_5", "regnet_y_400mf", "densenet121"]
)
def test_networks_of_torchvision_that_nobody_registered(name: str) -> None:
    from fedcore.models.dropout import adopt_streams
    from fedcore.models.torchvision_import import import_torchvision

    model = getattr(import_torchvision().models, name)(num_classes=3)
    adopt_streams(model)
    model = model.double().train()
    network, models, *_ = stack_of(model, clients=2)
    x = torch.randn(2, 2, 3, 64, 64, dtype=torch.float64)
    set_sizes(network, (2, 2))
    for place in range(len(network.context.generators)):
        network.context.generators[place] = [torch.Generator().manual_seed(k) for k in range(2)]
    stacked = network(x)
    for k, one in enumerate(models):
        for dropout in (m for m in one.modules() if isinstance(m, StreamDropout)):
            dropout.seed(torch.Generator().manual_seed(k))
        own = one(x[k])
        assert float(((stacked[k] - own).norm() / own.norm()).detach()) < 1e-6
