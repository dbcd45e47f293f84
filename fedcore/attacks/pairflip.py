"""Pair flip: y' = C - 1 - y.

Karimireddy et al., "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", 2022. With
an odd C the middle class is its own image: its samples count as poisoned, not as changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@ATTACKS.register("pairflip", "label y becomes C - 1 - y", redraw=False)
class PairFlip(LabelAttack):
    """Every sample is eligible; nothing is drawn but which samples are poisoned."""

    @classmethod
    def relabel(
        cls, labels: Indices, num_classes: int, scenario: Scenario, generator: Generator
    ) -> Indices:
        """C - 1 - y, an involution; [k] int64."""
        return num_classes - 1 - labels

    @classmethod
    def data_problems(cls, scenario: Scenario, num_classes: int) -> list[str]:
        """Fewer than two classes."""
        if num_classes < 2:
            return [f"pairflip needs at least 2 classes, got {num_classes}: use another data set"]
        return []
