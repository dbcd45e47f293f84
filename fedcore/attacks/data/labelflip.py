"""Random label flip: y' uniform over the other C - 1 labels, never y.

Soubih et al., "Towards Robust Federated Learning: Investigating Poisoning Attacks Under Clients
Data Heterogeneity", 2025. Some suites draw from all C labels, which leaves 1 in C as it was.
"""

from __future__ import annotations

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.components.parameters import param
from fedcore.streams import Generator, Indices


@ATTACKS.register("labelflip", "a uniformly random other label")
class LabelFlip(LabelAttack):
    """Every sample is eligible, and every poisoned one changes."""

    redraw: bool = param("draw the poison anew at every participation", default=False)

    def relabel(self, labels: Indices, num_classes: int, generator: Generator) -> Indices:
        """(y + d) mod C with d uniform in 1 ... C - 1; [k] int64."""
        return (labels + generator.integers(1, num_classes, size=len(labels))) % num_classes

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """Fewer than two classes."""
        if num_classes < 2:
            return [f"labelflip needs at least 2 classes, got {num_classes}: use another data set"]
        return []
