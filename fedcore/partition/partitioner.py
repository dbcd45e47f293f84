"""Partitioners: how the samples of a data set are dealt to clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedcore.components.bridge import OldComponent as Component
from fedcore.components.kinds import PARTITIONERS as PARTITIONERS
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class Partitioner(Component):
    """One way of dealing samples. Subclasses are registered in `PARTITIONERS`."""

    @classmethod
    @abstractmethod
    def split(cls, labels: Indices, scenario: Scenario, generator: Generator) -> list[Indices]:
        """Indices of each client's samples, in client order.

        ``labels`` is [n] int64. Returns ``scenario.num_clients`` disjoint int64 arrays.
        Raises `PartitionError` where the scenario's parameters cannot be met.
        """


def label_matrix(
    labels: Indices, parts: Sequence[Indices], num_classes: int
) -> npt.NDArray[np.int64]:
    """Samples per client and class, [num_clients, num_classes]: ready to plot as a heat map."""
    return np.stack([np.bincount(labels[part], minlength=num_classes) for part in parts])
