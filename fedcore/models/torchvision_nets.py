"""What the networks taken from torchvision share: normalisation, a new head, ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from fedcore.components.parameters import param
from fedcore.errors import ModelError
from fedcore.models.architecture import Architecture
from fedcore.models.norms import group_norm, norm_parameter
from fedcore.models.torchvision_import import import_torchvision
from fedcore.models.weights import load_weights

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class TorchvisionNet(Architecture):
    """A network that torchvision builds with the function ``constructor``.

    Their strides multiply to 32: an image of up to 32 pixels ends as a 1x1 map. Padding lets
    every size through, but one sample alone then gives batch normalisation a single value per
    channel, which torch refuses in training: a batch needs two samples.
    """

    uses = ("torchvision",)
    channels = 3
    constructor: ClassVar[str]

    norm: str = norm_parameter("batch")
    weights: str | None = param(
        "'imagenet' or a file of pretrained weights; None: random", default=None, token="weights"
    )

    def problems(self, scenario: Scenario) -> list[str]:
        """Refuses norm='none', and pretrained weights in a network of another normalisation."""
        problems = []
        if self.norm == "none":
            problems.append(
                f"model {self.name!r} does not train without normalisation layers, got "
                "norm='none': choose 'batch' or 'group'"
            )
        if self.norm == "group" and self.weights is not None:
            problems.append(
                f"weights={self.weights!r} do not fit norm='group': they were trained with "
                "batch normalisation, whose statistics do not carry over; choose norm='batch', or "
                "leave weights out"
            )
        return problems

    def build(
        self,
        *,
        num_classes: int,
        channels: int,
        size: tuple[int, int],
        norm: str,
        weights: Path | None,
    ) -> nn.Module:
        """See `Architecture.build`; norm is batch or group, weights go with batch only."""
        if norm not in ("batch", "group") or channels != self.channels:
            raise ModelError(
                f"{self.constructor} takes {self.channels} channels and norm 'batch' or 'group', "
                f"got {channels} and {norm!r}"
            )
        construct = getattr(import_torchvision().models, self.constructor)
        # None is the network's own batch normalisation, whose epsilon and momentum may be its own
        network: nn.Module = construct(
            num_classes=num_classes, norm_layer=group_norm if norm == "group" else None
        )
        if weights is not None:
            load_weights(network, weights, num_classes)
        return network
