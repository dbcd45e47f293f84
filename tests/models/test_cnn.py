from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.cnn import Cnn


def build(norm: str = "none", channels: int = 3, size: tuple[int, int] = (28, 28)) -> nn.Sequential:
    network = Cnn().build(num_classes=8, channels=channels, size=size, norm=norm, weights=None)
    assert isinstance(network, nn.Sequential)
    return network


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_by_hand() -> None:
    convolutions = (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32
    linear = (32 * 7 * 7 + 1) * 64 + (64 + 1) * 8
    assert parameters(build()) == convolutions + linear == 106_024


def test_order_of_layers() -> None:
    block = [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]
    tail = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in build("batch")] == [*block, *block, *tail]


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_norm_adds_a_scale_and_a_shift_per_map(norm: str, layer: type[nn.Module]) -> None:
    network = build(norm)
    assert sum(isinstance(module, layer) for module in network) == 2
    assert parameters(network) == 106_024 + 2 * (16 + 32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (28, 28), (29, 33), (64, 64)])
def test_logits_at_many_sizes(channels: int, size: tuple[int, int]) -> None:
    logits = build(channels=channels, size=size)(torch.randn(2, channels, *size))
    assert logits.shape == (2, 8)
    assert logits.isfinite().all()


def test_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="'cnn' takes no pretrained weights"):
        Cnn().build(num_classes=2, channels=1, size=(8, 8), norm="none", weights=Path("w.pth"))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_relu_after_pooling_is_bitwise_the_usual_order(norm: str) -> None:
    torch.manual_seed(0)
    ours = build(norm)
    usual = list(ours)
    for place in [p for p, layer in enumerate(ours) if isinstance(layer, nn.MaxPool2d)]:
        usual[place : place + 2] = usual[place + 1], usual[place]
    images, labels = torch.randn(16, 3, 28, 28), torch.arange(16) % 8
    gradients = []
    for network in (ours, nn.Sequential(*usual)):  # one set of parameters in two orders
        network.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad.clone() for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
