"""Partitioners: how the samples of a data set are dealt to clients."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from fedcore.components.component import Component
from fedcore.components.kinds import PARTITIONERS as PARTITIONERS
from fedcore.streams import Generator, Indices


class Partitioner(Component):
    """One way of dealing samples. Subclasses are registered in `PARTITIONERS`."""

    kind: ClassVar[str] = "partition"

    @abstractmethod
    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """Indices of each client's samples, in client order.

        ``labels`` is [n] int64. Returns ``num_clients`` disjoint int64 arrays. Raises
        `PartitionError` where the parameters cannot be met.
        """
