"""Training images that a partition changes, client by client, once a run and before any poison.

Engines only index images, so that changed ones stand behind the clean ones in the pool and the
places of a client point to them. The test set stays clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedcore.errors import PartitionError
from fedcore.exchange.fingerprints import content, long, total
from fedcore.federation.threat import Copies, Threat
from fedcore.scenario import Scenario
from fedcore.streams import Indices, Purpose, stream


@dataclass(frozen=True)
class ClientSkew:
    """What a partition did to the images of one client: the audit has one of each.

    ``changed`` of its ``samples`` have other pixels; ``images`` is the order-free digest of all.
    """

    client: int
    samples: int
    changed: int
    images: str


@dataclass(frozen=True)
class Skew:
    """Changed images of all clients: ``images`` [m, h, w, c] uint8, before any transform.

    ``origins`` [m] are the training samples that they stand for, ``places`` by client its images'
    places in a pool of ``clean`` images with these behind.
    """

    images: torch.Tensor
    origins: Indices
    places: tuple[Indices, ...]
    clean: int
    audit: tuple[ClientSkew, ...]

    @classmethod
    def of(
        cls, scenario: Scenario, seed: int, parts: Sequence[Indices], images: torch.Tensor
    ) -> Skew | None:
        """What the partition makes of ``images`` [n, h, w, c] uint8; None where it changes none.

        What a client sees follows from the seed of the partition, as its samples do. Raises
        PartitionError where the partition gives images of another form, or changes none.
        """
        partition, fixed = scenario.parts.partition, scenario.partition_seed
        if not partition.changes_images:
            return None
        owner, pixels = seed if fixed is None else fixed, images.numpy()
        made, places, audit, count = [], [], [], len(images)
        for client, part in enumerate(parts):
            own = pixels[part]
            drawing = stream(owner, Purpose.FEATURE_SKEW, client=client)
            seen = np.asarray(partition.changed(own.copy(), drawing))
            if seen.shape != own.shape or seen.dtype != np.uint8:
                raise PartitionError(
                    f"partition {scenario.partition!r} must give uint8 images of shape {own.shape}"
                    f", got {seen.dtype} of shape {seen.shape}: correct its changed method"
                )
            other = int((seen != own).any(axis=(1, 2, 3)).sum())
            digest = long(int(total(content(torch.from_numpy(np.ascontiguousarray(seen))))))
            audit.append(ClientSkew(client, len(part), other, digest))
            places.append(np.arange(count, count + len(part)))
            made.append(seen)
            count += len(part)
        if not sum(each.changed for each in audit):
            raise PartitionError(
                f"partition {scenario.partition!r} changed no image of any client: raise its "
                "parameters, or take a partition that changes none"
            )
        stacked = torch.from_numpy(np.concatenate(made))
        return cls(stacked, np.concatenate(parts), tuple(places), len(images), tuple(audit))

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """A copy of the data set's ``images`` with each client's own in the place of its samples.

        It is what an attack on images starts from.
        """
        result = images.clone()
        result[torch.from_numpy(self.origins)] = self.images
        return result

    def under(self, threat: Threat) -> Threat:
        """``threat``, whose clients train on these images, and on its poisoned copies behind."""
        seen, more = dict(enumerate(self.places)), len(self.images)
        pool = {
            client: np.where(own < self.clean, seen[client], own + more)
            for client, own in threat.pool.items()
        }
        copies = Copies(self.images, self.origins)
        if threat.copies is not None:
            copies = Copies(
                torch.cat((self.images, threat.copies.images)),
                np.concatenate((self.origins, threat.copies.origins)),
            )
        return replace(threat, pool=pool, seen=seen, copies=copies)
