"""Models: built with a head for the data at hand, from a seed or from a file of weights."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from torch import nn

from fedcore.components.component import Component
from fedcore.components.kinds import MODELS as MODELS


class Architecture(Component):
    """One network architecture. Subclasses are registered in `MODELS`.

    ``channels`` is the number of input channels it insists on, None if it takes any;
    ``smallest`` is the least image side in pixels that it can take.
    """

    kind: ClassVar[str] = "model"
    channels: ClassVar[int | None] = None
    smallest: ClassVar[int] = 1

    @abstractmethod
    def build(
        self,
        *,
        num_classes: int,
        channels: int,
        size: tuple[int, int],
        norm: str,
        weights: Path | None,
    ) -> nn.Module:
        """A fresh network for images [batch, channels, *size]; logits are [batch, num_classes].

        ``norm`` and ``weights`` are those of the parameters with these names: "none" and None of an
        architecture that has no such parameter.

        Initial weights come from torch's global generator, which `build_model` seeds and restores.
        Raises `ModelError` where ``weights`` is missing, damaged or of another network.
        """
