"""The images that the clients of several federations train on, in one tensor that engines index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedcore.engine.marks import known
from fedcore.federation.federation import Federation
from fedcore.federation.threat import Copies
from fedcore.streams import Indices


class Pool:
    """Clean images once, then the poisoned copies of each of ``federations``, in their order.

    ``images`` [n + q, h, w, c] uint8 lie on ``device``. Federations share the data set and the
    transform. ``known`` says what the images should be, for a witness.
    """

    def __init__(self, federations: Sequence[Federation], device: torch.device) -> None:
        first = federations[0]
        self._clean = len(first.train_images)
        self.holders = [f.threat for f in federations if f.copies is not None]
        self._begins: dict[int, int] = {}
        self.images, self.known = first.train_images, known(first, device)
        made = [f.copies for f in federations if f.copies is not None]
        if not made:
            return
        begin = 0
        for threat, images in zip(self.holders, made, strict=True):
            self._begins[id(threat)] = begin
            begin += len(images)
        self.images = torch.cat((first.train_images, *made))
        copies = [threat.copies for threat in self.holders if threat.copies is not None]
        images = torch.cat([own.images for own in copies])
        origins = np.concatenate([own.origins for own in copies])
        self.known = self.known.with_copies(Copies(images, origins), first.transform, device)

    def holds(self, federations: Sequence[Federation]) -> bool:
        """Whether this pool is that of ``federations``, all of one data set and transform."""
        due = [f.threat for f in federations if f.copies is not None]
        return len(due) == len(self.holders) and all(map(_same, due, self.holders))

    def places(self, federation: Federation, samples: Indices) -> Indices:
        """Where the ``samples`` of a client of ``federation`` lie in ``images``."""
        begin = self._begins.get(id(federation.threat), 0)
        return np.where(samples < self._clean, samples, samples + begin) if begin else samples


def _same(one: object, other: object) -> bool:
    return one is other


def distinct(federations: Sequence[Federation]) -> list[Federation]:
    """``federations`` without repetitions, in their order."""
    return list({id(each.threat): each for each in federations}.values())
