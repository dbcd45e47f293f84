"""Quantity skew: clients differ in how many samples they hold, and in nothing else.

Sizes are log-normal, as those of the clients of FedProx's synthetic data (Li et al., "Federated
Optimization in Heterogeneous Networks", 2020: there ``lognormal(4, 2) + 50``), scaled so that they
use up the data set. Labels are independent and identically distributed.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedcore.components.parameters import param
from fedcore.errors import PartitionError
from fedcore.partition.partitioner import PARTITIONERS, Partitioner
from fedcore.streams import Generator, Indices


def quantity(
    labels: Indices, num_partitions: int, sigma: float, generator: Generator, *, smallest: int = 2
) -> list[Indices]:
    """Deals all of ``labels`` ([n]) at random into parts of log-normal sizes.

    Each part gets ``smallest`` samples, and of the others a share in proportion to exp(sigma z), z
    a standard normal number of the part; fractions go to the parts with the largest ones. Sizes
    sum to n; ``sigma`` = 0 gives sizes that differ by at most one. Raises `PartitionError` where
    ``num_partitions * smallest`` exceeds n.
    """
    n = len(labels)
    rest = n - num_partitions * smallest
    if rest < 0:
        raise PartitionError(
            f"quantity needs num_clients * smallest <= samples, got {num_partitions} * {smallest} "
            f"> {n}: lower num_clients or smallest"
        )
    draws = sigma * generator.standard_normal(num_partitions)
    weights = np.exp(draws - draws.max())  # relative to the largest, which cannot overflow
    exact = rest * (weights / weights.sum())
    sizes = np.floor(exact + 1e-9).astype(np.int64)  # 1e-9: 0.3 * 10 must count as 3
    left = rest - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    order = generator.permutation(n).astype(np.int64, copy=False)
    return np.split(order, np.cumsum(sizes + smallest)[:-1])


@PARTITIONERS.register("quantity", "log-normal sizes, labels as in iid (Li et al. 2020)")
class Quantity(Partitioner):
    """See `quantity`.

    Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous
    Networks", MLSys 2020, whose synthetic clients have lognormal(4, 2) + 50 samples.
    """

    named: ClassVar[tuple[str, ...]] = ("sigma",)

    sigma: float = param("deviation of the logarithm of a client's size", default=1.0, low=0)
    smallest: int = param("samples that each client has at least", default=2, low=1)

    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """`quantity` with these parameters."""
        return quantity(labels, num_clients, self.sigma, generator, smallest=self.smallest)
