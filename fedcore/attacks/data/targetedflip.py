"""Targeted flip: samples of one class are passed off as another, all else is left alone.

Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", 2020. The poison
ratio is a share of a client's samples *of the source class*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.components.parameters import param
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@ATTACKS.register("targetedflip", "source class passed off as target class")
class TargetedFlip(LabelAttack):
    """Only samples of source_class are eligible, and every poisoned one changes."""

    named: ClassVar[tuple[str, ...]] = ("source_class", "target_class")
    source_class: int = param("class to poison", low=0)
    target_class: int = param("class to pass it off as", low=0)
    redraw: bool = param("draw the poison anew at every participation", default=False)

    def problems(self, scenario: Scenario) -> list[str]:
        """A source class that is the target class as well."""
        problems = super().problems(scenario)
        if self.source_class == self.target_class:
            problems.append(
                "targetedflip needs source_class != target_class, got "
                f"{self.source_class} for both: change either"
            )
        return problems

    def eligible(self, labels: Indices) -> npt.NDArray[np.bool_]:
        """The samples of the source class, [n] bool."""
        return np.equal(labels, self.source_class, dtype=np.bool_)

    def relabel(self, labels: Indices, num_classes: int, generator: Generator) -> Indices:
        """The target class, [k] int64."""
        return np.full(len(labels), self.target_class, dtype=np.int64)

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """A class that the data set does not have."""
        return [
            f"targetedflip needs {name} < classes, got {name}={value} and {num_classes} classes: "
            f"choose one of 0 to {num_classes - 1}"
            for name in ("source_class", "target_class")
            if (value := getattr(self, name)) >= num_classes
        ]

    @property
    def success_classes(self) -> tuple[int, int]:
        """(source, target): success is a test sample of source that is taken for target."""
        return self.source_class, self.target_class
