"""Targeted flip: samples of one class are passed off as another, all else is left alone.

Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", 2020. The poison
ratio is a share of a client's samples *of the source class*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.components.registry import REQUIRED
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@ATTACKS.register(
    "targetedflip",
    "source class passed off as target class",
    source_class=REQUIRED,
    target_class=REQUIRED,
    redraw=False,
)
class TargetedFlip(LabelAttack):
    """Only samples of source_class are eligible, and every poisoned one changes."""

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        """A source class that is the target class as well."""
        if scenario.source_class == scenario.target_class:
            return [
                "targetedflip needs source_class != target_class, got "
                f"{scenario.source_class} for both: change either"
            ]
        return []

    @classmethod
    def eligible(cls, labels: Indices, scenario: Scenario) -> npt.NDArray[np.bool_]:
        """The samples of the source class, [n] bool."""
        source, _ = cls.success_classes(scenario)
        return np.equal(labels, source, dtype=np.bool_)

    @classmethod
    def relabel(
        cls, labels: Indices, num_classes: int, scenario: Scenario, generator: Generator
    ) -> Indices:
        """The target class, [k] int64."""
        _, target = cls.success_classes(scenario)
        return np.full(len(labels), target, dtype=np.int64)

    @classmethod
    def data_problems(cls, scenario: Scenario, num_classes: int) -> list[str]:
        """A class that the data set does not have."""
        return [
            f"targetedflip needs {name} < classes, got {name}={value} and {num_classes} classes: "
            f"choose one of 0 to {num_classes - 1}"
            for name in ("source_class", "target_class")
            if (value := getattr(scenario, name)) >= num_classes
        ]

    @classmethod
    def success_classes(cls, scenario: Scenario) -> tuple[int, int]:
        """(source, target): success is a test sample of source that is taken for target."""
        assert scenario.source_class is not None  # a Scenario has required them
        assert scenario.target_class is not None
        return scenario.source_class, scenario.target_class
