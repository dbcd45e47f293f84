"""The root set: test samples on which the server trains an update of its own, as FLTrust asks.

The server is one more client behind the last one, which engines train as they train any other. A
round's cohort is split from it before attacks, privacy and evidence: see `fedcore.simulation.root`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.data.dataset import Dataset, Split
from fedcore.errors import DataError, IdentityError
from fedcore.exchange.cohort import Cohort
from fedcore.federation.threat import Copies, Threat
from fedcore.streams import Indices, Purpose, stream

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Root:
    """``samples`` [r] of the test split, ascending; ``client`` is the server's number as one."""

    client: int
    samples: Indices
    images: torch.Tensor  # [r, height, width, channels] uint8, before any transform
    labels: Indices

    @classmethod
    def of(cls, scenario: Scenario, seed: int, dataset: Dataset) -> Root | None:
        """The root set of a run, None where the strategy has none.

        Drawn without replacement from the test split, by the run's seed. DataError where that
        would leave nothing to be scored.
        """
        size, available = scenario.parts.strategy.root_samples, len(dataset.test)
        if size == 0:
            return None
        if size >= available:
            raise DataError(
                f"strategy {scenario.strategy!r} takes root_size={size} of the {available} test "
                f"samples of dataset {scenario.dataset!r} and leaves none to be scored: lower it"
            )
        drawn = stream(seed, Purpose.ROOT_SET).choice(available, size=size, replace=False)
        samples = np.sort(drawn).astype(np.int64)
        images, labels = dataset.test.images[samples], dataset.test.labels.numpy()[samples]
        return cls(scenario.num_clients, samples, images, labels)

    def scored(self, test: Split) -> Split:
        """``test`` without the root set.

        IdentityError where the root set is not those of its samples, but a client's, say.
        """
        images, labels = test.images[self.samples], test.labels.numpy()[self.samples]
        if not torch.equal(images, self.images) or not np.array_equal(labels, self.labels):
            raise IdentityError(
                f"the {len(self.samples)} images and labels of the server's root set are not those "
                "of the test samples that it names"
            )
        kept = np.delete(np.arange(len(test)), self.samples)
        return Split(test.images[kept], test.labels[kept])

    def behind(self, threat: Threat) -> Threat:
        """``threat`` with the server as a client behind the last one, whose data are the root set.

        Its images lie behind all others in the pool, as copies that stand for themselves.
        """
        count, size = len(threat.labels), len(self.samples)
        copies = Copies(self.images, np.full(size, -1, np.int64))
        if (others := threat.copies) is not None:
            copies = Copies(
                torch.cat([others.images, copies.images]),
                np.concatenate([others.origins, copies.origins]),
            )
        begin = count + len(copies.origins) - size
        own = {self.client: np.arange(begin, begin + size)}
        return dataclasses.replace(
            threat,
            parts=[*threat.parts, np.arange(count, count + size)],
            labels=np.concatenate([threat.labels, self.labels]),
            copies=copies,
            seen={**threat.seen, **own},
        )


def trainees(root: Root | None, clients: tuple[int, ...]) -> tuple[int, ...]:
    """Whom an engine trains in a round of ``clients``: these, and the server behind them."""
    return clients if root is None else (*clients, root.client)


def joined(clients: Cohort, own: Cohort) -> Cohort:
    """The cohort of ``clients`` and, behind them, the one row of the server's ``own``."""
    noted = None
    if clients.noted is not None and own.noted is not None:
        noted = np.concatenate([clients.noted, own.noted])
    return Cohort(
        clients=clients.clients + own.clients,
        updates=torch.cat([clients.updates, own.updates]),
        counters=torch.cat([clients.counters, own.counters]),
        samples=clients.samples + own.samples,
        steps=clients.steps + own.steps,
        normalizers=clients.normalizers + own.normalizers,
        noted=noted,
    )
