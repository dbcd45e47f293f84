"""What the malicious clients of a run must have trained on, and the probe set of its attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.attacks.attack import success_of
from fedcore.exchange.fingerprints import Hashes, content, labelled, long, total
from fedcore.harness.proofs import poison
from fedcore.harness.proofs.poison import Images, Poisoned
from fedcore.harness.proofs.raw import Raw

if TYPE_CHECKING:
    from fedcore.harness.proofs.drawn import Drawn
    from fedcore.scenario import Scenario


class Victims:
    """What malicious clients train on, each draw worked out once."""

    def __init__(self, scenario: Scenario, seed: int, drawn: Drawn) -> None:
        self.scenario, self.seed, self.drawn = scenario, seed, drawn
        attack = poison.data_attack(scenario)
        self.redraw = attack is not None and attack.redraw
        self.images = None
        if attack is not None and attack.changes_images:
            self.images = drawn.data.images[0]
        self._made: dict[tuple[int, int], tuple[Poisoned, Hashes | None]] = {}

    def at(self, round: int, client: int) -> tuple[Poisoned, Hashes | None]:
        """What ``client`` trains on in ``round``: labels and copies, and hashes of all images."""
        key = round if self.redraw else 0, client
        if key not in self._made:
            data, part = self.drawn.data, self.drawn.parts[client]
            images = None if self.images is None else self._own(client)
            made = poison.poisoned(
                self.scenario, self.seed, round, client, data.train_labels[part], data.classes,
                images, [len(each) for each in self.drawn.parts],
            )  # fmt: skip
            self._made[key] = made, self._hashes(client, made)
        return self._made[key]

    def repainted(self, malicious: tuple[int, ...]) -> dict[int, tuple[int, str]]:
        """By malicious client: images that differ from their originals, and the copies' digest."""
        if self.images is None:
            return {}
        result = {}
        for client in malicious:
            made, _ = self.at(1, client)
            assert made.images is not None
            originals = self._own(client)[made.places]
            other = (made.images != originals).any(axis=(1, 2, 3))
            digest = long(int(total(content(torch.from_numpy(made.images)))))
            result[client] = int(np.count_nonzero(other)), digest
        return result

    def _own(self, client: int) -> Images:
        """The images of a client before any poison, by its part."""
        assert self.images is not None
        own: Images = self.images[self.drawn.parts[client]]
        skew = self.drawn.skew
        return own if skew is None else skew.changed(client, own)

    def _hashes(self, client: int, made: Poisoned) -> Hashes | None:
        """Hashes of the images that a client trains on, by its part; None where of its samples."""
        if made.images is None:
            return None
        own = self.drawn.hashes(client).copy()
        own[made.places] = content(torch.from_numpy(made.images))
        return own


def probe_of(scenario: Scenario, data: Raw) -> tuple[int, str] | None:
    """(images, digest) of the probe set of a scenario, None where it has none or an empty one."""
    success = success_of(scenario)
    if success is None or success.success_classes is not None:
        return None
    made = poison.probe(success, data.images[1], data.test_labels)
    if made is None or made.images is None or not len(made.labels):
        return None
    pairs = labelled(content(torch.from_numpy(made.images)), made.labels)
    return len(pairs), long(int(total(pairs)) + len(pairs))
