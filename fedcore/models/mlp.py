"""mlp: one hidden layer, the smallest network that learns digits; for tests and quick looks."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fedcore.models.architecture import MODELS, Architecture
from fedcore.models.norms import norm_layers, norm_parameter
from fedcore.models.weights import refuse_weights

HIDDEN = 64


@MODELS.register("mlp", "perceptron with one hidden layer of 64 units")
class Mlp(Architecture):
    """Flatten - linear 64 - [norm] - ReLU - linear: (c*h*w + 1) * 64 + 65 * classes parameters."""

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
        refuse_weights("mlp", weights)
        height, width = size
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, HIDDEN),
            *norm_layers(norm, HIDDEN, spatial=False),
            nn.ReLU(),
            nn.Linear(HIDDEN, num_classes),
        )
