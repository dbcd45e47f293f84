from __future__ import annotations

import pytest

from fedcore.models.mobilenet import MobileNetV2, MobileNetV3Small


@pytest.mark.parametrize(
    ("architecture", "classes", "parameters"),
    [
        (MobileNetV2, 8, 2_234_120),
        (MobileNetV2, 1000, 3_504_872),  # torchvision's table
        (MobileNetV3Small, 8, 1_526_056),
        (MobileNetV3Small, 1000, 2_542_856),
    ],
)
def test_parameters(
    architecture: type[MobileNetV2 | MobileNetV3Small], classes: int, parameters: int
) -> None:
    network = architecture().build(
        num_classes=classes, channels=3, size=(28, 28), norm="batch", weights=None
    )
    assert sum(p.numel() for p in network.parameters()) == parameters
