"""Independent and identically distributed clients: the samples are shuffled and cut evenly.

The split of McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", 2017. The shuffle matters: data sorted by label would otherwise give one-class clients.
"""

from __future__ import annotations

import numpy as np

from fedcore.partition.dealing import require_enough_samples
from fedcore.partition.partitioner import PARTITIONERS, Partitioner
from fedcore.streams import Generator, Indices


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
    """See `iid`; without parameters."""

    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """`iid` over the clients."""
        return iid(labels, num_clients, generator)
