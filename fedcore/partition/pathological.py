"""Few classes per client: each client holds a given number of classes, evenly shared.

McMahan et al., 2017; in this form Li et al., "Federated Learning on Non-IID Data Silos: An
Experimental Study", 2022 (there "first-deterministic"). Gives the indices of flwr-datasets 0.6.1
(``PathologicalPartitioner``, ``shuffle=True``) for the same numpy generator.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedcore.components.parameters import param
from fedcore.errors import PartitionError
from fedcore.partition.dealing import by_class, deal, require_enough_samples
from fedcore.partition.partitioner import PARTITIONERS, Partitioner
from fedcore.streams import Generator, Indices


def pathological(
    labels: Indices,
    num_partitions: int,
    classes_per_partition: int,
    generator: Generator,
    *,
    class_assignment: str = "random",
) -> list[Indices]:
    """Gives each client ``classes_per_partition`` of the classes in ``labels`` ([n]).

    A class is shared evenly among the clients that hold it; a class that no client holds is
    dropped. ``class_assignment``: "random", k classes without replacement; "deterministic",
    client i holds the classes i, i + 1, ... modulo their number; "first-deterministic", class i
    modulo their number and the rest at random.

    Raises `PartitionError` where there are fewer classes than ``classes_per_partition``, or
    fewer samples of a class than clients that hold it; ValueError for an unknown assignment.
    """
    require_enough_samples(len(labels), num_partitions)
    classes, counts, order = by_class(labels)
    if classes_per_partition > len(classes):
        raise PartitionError(
            f"pathological needs classes_per_client <= classes, got classes_per_client="
            f"{classes_per_partition} and {len(classes)} classes: lower classes_per_client"
        )
    holds = np.zeros((num_partitions, len(classes)), dtype=np.bool_)
    held = _assign(num_partitions, len(classes), classes_per_partition, generator, class_assignment)
    holds[np.arange(num_partitions)[:, None], held] = True
    holders = holds.sum(axis=0)
    if np.any(holders > counts):
        worst = int(np.argmax(holders - counts))
        raise PartitionError(
            f"pathological needs, of each class, at least one sample per client that holds it: "
            f"{holders[worst]} clients hold class {classes[worst]}, which has {counts[worst]} "
            "samples; lower num_clients or classes_per_client, or set "
            "class_assignment='deterministic' for even numbers of holders"
        )
    start, samples, owners = 0, [], []
    for column, count, share in zip(holds.T, counts, holders, strict=True):
        if share:
            samples.append(order[start : start + count])
            # the first count % share holders get one sample more
            sizes = np.full(share, count // share) + (np.arange(share) < count % share)
            owners.append(np.repeat(np.flatnonzero(column), sizes))
        start += count
    return deal(np.concatenate(samples), np.concatenate(owners), num_partitions, generator)


def _assign(
    num_partitions: int, num_classes: int, each: int, generator: Generator, assignment: str
) -> npt.NDArray[np.int64]:
    """Positions of the classes that each client holds, [num_partitions, each], all different."""
    if assignment == "random":
        rows = [generator.choice(num_classes, each, replace=False) for _ in range(num_partitions)]
        return np.array(rows)
    if assignment == "deterministic":
        return (np.arange(num_partitions)[:, None] + np.arange(each)) % num_classes
    if assignment == "first-deterministic":
        held = np.empty((num_partitions, each), dtype=np.int64)
        for client, row in enumerate(held):
            chosen = [client % num_classes]
            while len(chosen) < each:  # one at a time: a rejected draw is a draw of the stream
                candidate = int(generator.integers(num_classes, size=1)[0])
                if candidate not in chosen:
                    chosen.append(candidate)
            row[:] = chosen
        return held
    raise ValueError(
        "class_assignment must be one of random, deterministic, first-deterministic, got "
        f"{assignment!r}"
    )


@PARTITIONERS.register("pathological", "a given number of classes per client")
class Pathological(Partitioner):
    """See `pathological`."""

    named: ClassVar[tuple[str, ...]] = ("classes_per_client",)

    classes_per_client: int = param("classes that a client holds", low=1)
    class_assignment: str = param(
        "who holds what",
        default="random",
        choices=("random", "deterministic", "first-deterministic"),
    )

    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """`pathological` with these parameters."""
        return pathological(
            labels,
            num_clients,
            self.classes_per_client,
            generator,
            class_assignment=self.class_assignment,
        )
