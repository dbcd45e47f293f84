"""cnn: two convolutions and one hidden layer, LeNet's plan (LeCun et al. 1998) with 3x3 kernels."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fedcore.models.architecture import MODELS, Architecture
from fedcore.models.norms import norm_layers, norm_parameter
from fedcore.models.weights import refuse_weights

WIDTHS = (16, 32)
HIDDEN = 64


@MODELS.register("cnn", "two 3x3 convolutions (16, 32) and 64 hidden units")
class Cnn(Architecture):
    """[conv 3x3 - norm - maxpool 2 - ReLU] with 16, then 32 maps - linear 64 - ReLU - linear.

    Padding 1 keeps the maps' size, so that each pooling alone halves it. On 3x28x28 with 8
    classes: 106,024 parameters. ReLU comes after the pooling: the two commute, outputs and
    gradients are bitwise those of the usual order, and a quarter of the values is left to do.
    """

    smallest = 4  # one pixel is left after two poolings

    norm: str = norm_parameter("none")

    def build(
        self,
        *,
        num_classes: int,
        channels: int,
        size: tuple[int, int],
        norm: str,
        weights: Path | None,
    ) -> nn.Module:
        """See `Architecture.build`; any norm, no weights."""
        refuse_weights("cnn", weights)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                *norm_layers(norm, outputs, spatial=True),
                nn.MaxPool2d(2),
                nn.ReLU(),
            ]
        height, width = size
        return nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * (height // 4) * (width // 4), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, num_classes),
        )
