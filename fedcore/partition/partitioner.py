"""Partitioners: how the samples of a data set are dealt to clients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

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
