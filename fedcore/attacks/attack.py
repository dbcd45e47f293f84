"""Attacks on the training data of malicious clients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedcore.components.bridge import OldComponent as Component
from fedcore.components.kinds import ATTACKS as ATTACKS
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class LabelAttack(Component):
    """Changes labels of a share of a malicious client's samples. Registered in `ATTACKS`."""

    @classmethod
    def eligible(cls, labels: Indices, scenario: Scenario) -> npt.NDArray[np.bool_]:
        """Which samples may be poisoned, [n] bool; the poison ratio is a share of these."""
        return np.ones(len(labels), dtype=np.bool_)

    @classmethod
    @abstractmethod
    def relabel(
        cls, labels: Indices, num_classes: int, scenario: Scenario, generator: Generator
    ) -> Indices:
        """New labels, [k] int64, of the poisoned samples whose labels are given."""

    @classmethod
    def data_problems(cls, scenario: Scenario, num_classes: int) -> list[str]:
        """Preconditions that the data set breaks, each as a message."""
        return []

    @classmethod
    def success_classes(cls, scenario: Scenario) -> tuple[int, int] | None:
        """(source, target) where an attack success rate is defined, else None."""
        return None
