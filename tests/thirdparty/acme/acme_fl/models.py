"""A model with a parameter."""

from pathlib import Path

from torch import nn

from fedcore.components import param
from fedcore.models.architecture import MODELS, Architecture


@MODELS.register("narrow", "perceptron of two narrow layers")
class Narrow(Architecture):
    """Flatten - linear - tanh - linear - tanh - linear, ``width`` units wide."""

    width: int = param("units of a hidden layer", default=16, low=1)

    def build(
        self,
        *,
        num_classes: int,
        channels: int,
        size: tuple[int, int],
        norm: str,
        weights: Path | None,
    ) -> nn.Module:
        """The network; it has neither normalisation nor pretrained weights."""
        pixels = channels * size[0] * size[1]
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(pixels, self.width),
            nn.Tanh(),
            nn.Linear(self.width, self.width),
            nn.Tanh(),
            nn.Linear(self.width, num_classes),
        )
