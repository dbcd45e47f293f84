from __future__ import annotations

import pytest

from fedcore.models.resnet import ResNet18


@pytest.mark.parametrize(("classes", "parameters"), [(8, 11_180_616), (1000, 11_689_512)])
def test_parameters(classes: int, parameters: int) -> None:
    network = ResNet18().build(
        num_classes=classes, channels=3, size=(28, 28), norm="batch", weights=None
    )
    assert sum(p.numel() for p in network.parameters()) == parameters
