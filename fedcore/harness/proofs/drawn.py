"""One federation as its seed draws it a second time: clients, their work, what they train on."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedcore.exchange.fingerprints import Hashes, in_order, labelled, total
from fedcore.harness.proofs import draws
from fedcore.harness.proofs.draws import Indices
from fedcore.harness.proofs.raw import Raw
from fedcore.harness.proofs.skew import Skewed
from fedcore.harness.proofs.work import LocalWorks

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass(eq=False)
class Drawn:
    """The clients of one federation and seed, and what each trains on in each round."""

    scenario: Scenario
    seed: int
    data: Raw
    _orders: dict[tuple[int, int], tuple[Indices, int, int]] = field(default_factory=dict)
    _clean: dict[int, int] = field(default_factory=dict)

    @functools.cached_property
    def skew(self) -> Skewed | None:
        """What the partition makes of the clients' images; None where it leaves them alone."""
        return Skewed.of(self.scenario, self.seed, self.parts, self.data)

    def hashes(self, client: int) -> Hashes:
        """Hashes of the images of a client that is not malicious, by its part."""
        skew = self.skew
        return self.data.train[self.parts[client]] if skew is None else skew.hashes[client]

    @functools.cached_property
    def parts(self) -> list[Indices]:
        """Training samples by client."""
        return draws.parts(self.scenario, self.seed, self.data.train_labels)

    @functools.cached_property
    def works(self) -> LocalWorks:
        """How long clients train."""
        return LocalWorks(self.scenario, self.seed, list(map(len, self.parts)))

    @property
    def epochs(self) -> tuple[int, ...]:
        """Local epochs by client, as far as they are begun, of rounds in which an attack acts."""
        return tuple(epochs for epochs, _ in self.works.attacked)

    def epochs_of(self, round: int, client: int) -> int:
        """Local epochs of a client in a round."""
        return self.works.of(round, client)[0]

    def steps(self, round: int, client: int) -> int:
        """Local steps of a client in a round."""
        return self.works.of(round, client)[1]

    def work(self, round: int, client: int) -> tuple[Indices, int, int]:
        """(places in the part, digest of the images, digest of their order) of a participation."""
        key = round, client
        if key not in self._orders:
            part = self.parts[client]
            places = draws.places(
                self.scenario, self.seed, round, client, len(part), *self.works.of(round, client)
            )
            hashes = self.data.train[part[places]]
            digests = int(total(hashes)), int(in_order(hashes))
            self._orders[key] = places, *digests
        return self._orders[key]

    def clean_labels(self, round: int, client: int) -> int:
        """The digest of the labels of a client that is not malicious."""
        # each step takes others, or not all of an epoch
        if self.scenario.parts.per_example or self.scenario.local_steps is not None:
            return self.labels(round, client, self.data.train_labels[self.parts[client]])
        if client not in self._clean:
            part = self.parts[client]
            self._clean[client] = int(
                total(labelled(self.hashes(client), self.data.train_labels[part]))
            )
        return self._clean[client] * self.epochs_of(round, client) % 2**64

    def labels(
        self, round: int, client: int, believed: Indices, images: Hashes | None = None
    ) -> int:
        """The digest of the labels of a client that believes in ``believed``, by its part.

        ``images`` are hashes of what it trains on in the place of its samples, where it does.
        """
        own = self.hashes(client) if images is None else images
        pairs = labelled(own, believed)
        return int(total(pairs[self.work(round, client)[0]]))
