"""What a partition makes of the clients' images, worked out a second time.

The formula of fedcore's own feature skew stands here once more, as one kernel in the plane; other
packages' partitions are asked for what only they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedcore.exchange.fingerprints import Hashes, content, long, total
from fedcore.federation.skew import ClientSkew
from fedcore.harness.proofs import draws
from fedcore.harness.proofs.draws import Indices
from fedcore.harness.proofs.poison import Images

if TYPE_CHECKING:
    from fedcore.harness.proofs.raw import Raw
    from fedcore.scenario import Scenario

_SKEW = 22  # of `fedcore.streams.Purpose`


@dataclass(frozen=True, eq=False)
class Skewed:
    """Hashes of each client's images, by its part, and what a record must say of them."""

    partition: Any
    seed: int
    hashes: tuple[Hashes, ...]
    audit: tuple[ClientSkew, ...]

    @classmethod
    def of(
        cls, scenario: Scenario, seed: int, parts: Sequence[Indices], data: Raw
    ) -> Skewed | None:
        """That of a run of ``scenario`` with ``seed``; None where no images are changed."""
        partition = scenario.parts.partition
        if not partition.changes_images:
            return None
        owner = seed if scenario.partition_seed is None else scenario.partition_seed
        images, hashes, audit = data.images[0], [], []
        for client, part in enumerate(parts):
            own = images[part]
            made = changed(partition, owner, client, own)
            hashed = content(torch.from_numpy(np.ascontiguousarray(made)))
            other = int((made != own).any(axis=(1, 2, 3)).sum())
            hashes.append(hashed)
            audit.append(ClientSkew(client, len(part), other, long(int(total(hashed)))))
        return cls(partition, owner, tuple(hashes), tuple(audit))

    def changed(self, client: int, images: Images) -> Images:
        """A client's ``images`` as it has them."""
        return changed(self.partition, self.seed, client, images)


def changed(partition: Any, seed: int, client: int, images: Images) -> Images:
    """What a client has in the place of ``images`` [k, h, w, c]."""
    drawing = draws.generator(seed, _SKEW, client=client)
    if partition.name != "featureskew":
        result: Images = partition.changed(images.copy(), drawing)
        return result
    bright, soft = drawing.random(2).tolist()
    factor = 1 + partition.intensity * (2 * bright - 1)
    sharp = _blurred(images, partition.blur * soft).astype(np.float64)
    levels: Images = np.minimum(np.rint(sharp * factor), 255).astype(np.uint8)
    return levels


def _blurred(images: Images, deviation: float) -> Images:
    reach = int(np.ceil(3 * deviation))
    if reach == 0:
        return images
    bell = [np.exp(-0.5 * (x / max(deviation, 1e-9)) ** 2) for x in range(-reach, reach + 1)]
    line = np.rint(4096 * np.array(bell) / np.sum(bell)).astype(np.int64)
    line[reach] += 4096 - line.sum()
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (len(line),) * 2, axis=(1, 2))
    plane = np.multiply.outer(line, line)
    result = np.empty(images.shape, np.uint8)
    for place in range(len(images)):  # an image at a time: windows are large
        sums = np.tensordot(windows[place].astype(np.int64), plane, axes=2)
        result[place] = (sums + 2**23) >> 24
    return result
