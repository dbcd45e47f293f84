"""Independent and identically distributed clients: the samples are shuffled and cut evenly.

The split of McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", 2017. The shuffle matters: data sorted by label would otherwise give one-class clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedcore.partition.dealing import require_enough_samples
from fedcore.partition.partitioner import PARTITIONERS, Partitioner
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


def iid(labels: Indices, num_partitions: int, generator: Generator) -> list[Indices]:
    """Deals all of ``labels`` ([n]) at random into parts whose sizes differ by at most one.

    The first ``n % num_partitions`` parts are the larger ones. Raises `PartitionError` where
    ``num_partitions`` exceeds n.
    """
    require_enough_samples(len(labels), num_partitions)
    order = generator.permutation(len(labels)).astype(np.int64, copy=False)
    return np.array_split(order, num_partitions)


@PARTITIONERS.register("iid", "shuffled, equal shares")
class Iid(Partitioner):
    """Reads no parameters."""

    @classmethod
    def split(cls, labels: Indices, scenario: Scenario, generator: Generator) -> list[Indices]:
        """`iid` over the scenario's clients."""
        return iid(labels, scenario.num_clients, generator)
