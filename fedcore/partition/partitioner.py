"""Partitioners: how the samples of a data set are dealt to clients."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedcore.components.component import Component
from fedcore.components.kinds import PARTITIONERS as PARTITIONERS
from fedcore.streams import Generator, Indices

Images = npt.NDArray[np.uint8]


class Partitioner(Component):
    """One way of dealing samples. Subclasses are registered in `PARTITIONERS`.

    One that ``changes_images`` gives each client training images of its own, see `changed`.
    """

    kind: ClassVar[str] = "partition"
    changes_images: ClassVar[bool] = False

    @abstractmethod
    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """Indices of each client's samples, in client order.

        ``labels`` is [n] int64. Returns ``num_clients`` disjoint int64 arrays. Raises
        `PartitionError` where the parameters cannot be met.
        """

    def changed(self, images: Images, generator: Generator) -> Images:
        """What a client has in the place of its training ``images`` [k, height, width, channels].

        Asked once for each client, in each run, of a partition that ``changes_images``. Images are
        uint8 as the data set has them, in the order of the client's samples; ``generator`` is the
        client's own.
        """
        return images
