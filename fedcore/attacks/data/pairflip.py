"""Pair flip: y' = C - 1 - y.

Karimireddy et al., "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", 2022. With
an odd C the middle class is its own image: its samples count as poisoned, not as changed.
"""

from __future__ import annotations

from typing import ClassVar

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.components.parameters import param
from fedcore.streams import Generator, Indices


@ATTACKS.register("pairflip", "label y becomes C - 1 - y")
class PairFlip(LabelAttack):
    """Every sample is eligible; nothing is drawn but which samples are poisoned."""

    may_keep_labels: ClassVar[bool] = True  # the middle one of an odd number of classes
    redraw: bool = param("draw the poison anew at every participation", default=False)

    def relabel(self, labels: Indices, num_classes: int, generator: Generator) -> Indices:
        """C - 1 - y, an involution; [k] int64."""
        return num_classes - 1 - labels

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """Fewer than two classes."""
        if num_classes < 2:
            return [f"pairflip needs at least 2 classes, got {num_classes}: use another data set"]
        return []
