"""What the partitioners share: from "which client gets this sample" to one index array each."""

from __future__ import annotations

import numpy as np

from fedcore.errors import PartitionError
from fedcore.streams import Generator, Indices


def require_enough_samples(num_samples: int, num_partitions: int) -> None:
    """`PartitionError` unless there is at least one sample per client."""
    if num_partitions > num_samples:
        raise PartitionError(
            f"a partition needs num_clients <= samples, got num_clients={num_partitions} and "
            f"{num_samples} samples: lower num_clients or use a larger data set"
        )


def by_class(labels: Indices) -> tuple[Indices, Indices, Indices]:
    """The classes that occur, ascending; how often each does; all sample indices class by class.

    Within a class the indices ascend. Shapes [classes], [classes] and [n].
    """
    classes, counts = np.unique(labels, return_counts=True)
    order = np.argsort(labels, kind="stable")
    return classes, counts.astype(np.int64), order.astype(np.int64)


def deal(
    samples: Indices, owners: Indices, num_partitions: int, generator: Generator
) -> list[Indices]:
    """Gives ``samples[i]`` to ``owners[i]`` (both [m]) and shuffles each client's share.

    The shares are shuffled in client order, each from its order in ``samples``.
    """
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(np.bincount(owners, minlength=num_partitions))
    parts = np.split(samples[order], ends[:-1])
    for part in parts:
        generator.shuffle(part)
    return parts
