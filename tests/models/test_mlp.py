from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.mlp import Mlp


@pytest.mark.parametrize(
    ("norm", "layer", "extra"),
    [("none", nn.ReLU, 0), ("batch", nn.BatchNorm1d, 128), ("group", nn.GroupNorm, 128)],
)
def test_layers_parameters_and_logits(norm: str, layer: type[nn.Module], extra: int) -> None:
    network = Mlp().build(num_classes=10, channels=1, size=(28, 20), norm=norm, weights=None)
    assert any(isinstance(module, layer) for module in network.modules())
    expected = (28 * 20 + 1) * 64 + 65 * 10 + extra
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.randn(2, 1, 28, 20)).shape == (2, 10)


def test_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="'mlp' takes no pretrained weights"):
        Mlp().build(num_classes=2, channels=1, size=(8, 8), norm="none", weights=Path("w.pth"))
