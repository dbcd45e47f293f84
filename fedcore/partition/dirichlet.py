"""Label skew: each class is cut among the clients in proportions drawn from Dir(alpha).

Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", 2019, and Hsu
et al., "Measuring the Effects of Non-Identical Data Distribution", 2019. Gives the indices of
flwr-datasets 0.6.1 (``DirichletPartitioner``, ``shuffle=True``) for the same numpy generator.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from fedcore.components.parameters import param
from fedcore.errors import PartitionError
from fedcore.partition.dealing import by_class, deal, require_enough_samples
from fedcore.partition.partitioner import PARTITIONERS, Partitioner
from fedcore.streams import Generator, Indices

TRIES: Final = 11
"""Draws of the whole partition before a minimum size is given up: one, and ten more."""


def dirichlet(
    labels: Indices,
    num_partitions: int,
    alpha: float,
    generator: Generator,
    *,
    min_partition_size: int = 10,
    self_balancing: bool = False,
) -> list[Indices]:
    """Deals all of ``labels`` ([n], any integers) into ``num_partitions`` parts.

    ``alpha`` > 0: towards 0 each class goes to a single client, towards infinity the split is
    even. Everything is drawn again, from the same generator, while a client has fewer than
    ``min_partition_size`` samples. ``self_balancing`` gives no more classes to a client that has
    more than n / num_partitions samples.

    Raises `PartitionError` where the minimum size is not reached in `TRIES` draws, or cannot be.
    """
    n = len(labels)
    require_enough_samples(n, num_partitions)
    if num_partitions * min_partition_size > n:
        raise PartitionError(
            f"dirichlet needs num_clients * min_partition_size <= samples, got {num_partitions} * "
            f"{min_partition_size} > {n}: lower num_clients or min_partition_size"
        )
    _, counts, order = by_class(labels)
    full = n / num_partitions if self_balancing else np.inf
    smallest = 0
    for _ in range(TRIES):
        dealt = _draw(counts, num_partitions, alpha, full, generator)
        sizes = dealt.sum(axis=0)
        if sizes.min() >= min_partition_size:
            owners = np.repeat(np.tile(np.arange(num_partitions), len(counts)), dealt.ravel())
            return deal(order, owners, num_partitions, generator)
        smallest = max(smallest, int(sizes.min()))
    raise PartitionError(
        f"dirichlet with alpha={alpha} left a client below min_partition_size={min_partition_size} "
        f"in each of {TRIES} draws over num_clients={num_partitions} (the best draw's smallest "
        f"client has {smallest} of {n} samples): raise alpha, lower num_clients or "
        "min_partition_size, or take another seed (partition_seed)"
    )


def _draw(
    counts: Indices, num_partitions: int, alpha: float, full: float, generator: Generator
) -> Indices:
    """Samples of each class for each client, [classes, num_partitions]; rows sum to ``counts``.

    A client with more than ``full`` samples gets none of the classes after.
    """
    concentration = np.full(num_partitions, alpha)
    dealt = np.zeros((len(counts), num_partitions), dtype=np.int64)
    sizes = np.zeros(num_partitions, dtype=np.int64)
    for row, count in zip(dealt, counts, strict=True):
        shares = generator.dirichlet(concentration)
        if full < np.inf:
            shares[sizes > full] = 0.0
            # A running sum, as the last bit may move a cut. It is zero where a tiny alpha gave
            # every open client a share of exactly 0: the last client then takes the class.
            total = np.cumsum(shares)[-1]
            shares = shares / total if total > 0 else shares
        cuts = (np.cumsum(shares)[:-1] * count).astype(np.int64)
        row[:] = np.diff(cuts, prepend=0, append=count)
        sizes += row
    return dealt


@PARTITIONERS.register("dirichlet", "label skew: class proportions ~ Dir(alpha)")
class Dirichlet(Partitioner):
    """See `dirichlet`."""

    named: ClassVar[tuple[str, ...]] = ("alpha",)

    alpha: float = param("Dirichlet concentration", low=0, open_low=True)
    min_partition_size: int = param("redraw below this many samples", default=10, low=0)
    self_balancing: bool = param("stop filling clients above the mean size", default=False)

    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """`dirichlet` with these parameters."""
        return dirichlet(
            labels,
            num_clients,
            self.alpha,
            generator,
            min_partition_size=self.min_partition_size,
            self_balancing=self.self_balancing,
        )
