"""Who trains on which samples at which step: the work of many clients side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from fedcore.engine.stack.pool import Pool
from fedcore.exchange.evidence import Row
from fedcore.federation.batches import batch_bounds
from fedcore.federation.federation import Federation
from fedcore.streams import Indices, Purpose, stream


class LocalTask(Protocol):
    """One client's local work in one round of one federation."""

    @property
    def client(self) -> int:
        """Its number in the federation."""

    @property
    def federation(self) -> Federation:
        """Where the client belongs."""

    @property
    def round(self) -> int:
        """The round, from 1."""

    def load(self, vector: torch.Tensor, counters: torch.Tensor) -> None:
        """Write where the client starts into ``vector`` [D] and ``counters`` [I]."""

    def store(self, vector: torch.Tensor, counters: torch.Tensor) -> None:
        """Take over where the client ended; the tensors are used again afterwards."""

    def note(self, row: Row) -> None:
        """Take over what a witness has noted of the client's work, [WIDTH]."""


@dataclass(frozen=True)
class Schedule:
    """The steps of several tasks in lockstep. Row k is client k, those with most steps first.

    ``steps`` [K] descend, so that the clients still at work in a step are the first ones.
    ``sizes`` [T, K] are the batches' samples, 0 once a client is done; ``samples`` and ``labels``
    [T, K, longest batch] repeat a batch's own samples where it is shorter.
    """

    order: tuple[int, ...]  # the task of each row
    steps: tuple[int, ...]
    sizes: npt.NDArray[np.int64]
    samples: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, tasks: Sequence[LocalTask], device: torch.device, pool: Pool) -> Schedule:
        """The batches that every task would see alone, in the same order; places in ``pool``."""
        counts = [steps_of(task) for task in tasks]
        order = sorted(range(len(tasks)), key=lambda i: -counts[i])  # stable
        longest = max(stop - start for task in tasks for start, stop in _bounds(task))
        shape = (max(counts), len(tasks), longest)
        sizes = np.zeros(shape[:2], np.int64)
        samples, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, place in enumerate(order):
            for step, (chosen, believed) in enumerate(_batches(tasks[place])):
                sizes[step, row] = len(chosen)
                places = pool.places(tasks[place].federation, chosen)
                samples[step, row] = np.resize(places, longest)
                labels[step, row] = np.resize(believed, longest)
        return cls(
            tuple(order),
            tuple(counts[place] for place in order),
            sizes,
            torch.from_numpy(samples).to(device),
            torch.from_numpy(labels).to(device),
        )


def steps_of(task: LocalTask) -> int:
    """Local steps of ``task``."""
    return task.federation.steps_of(task.client, task.round)


def _bounds(task: LocalTask) -> list[tuple[int, int]]:
    federation = task.federation
    return batch_bounds(len(federation.parts[task.client]), federation.scenario.batch_size)


def _batches(task: LocalTask) -> Iterable[tuple[Indices, Indices]]:
    """(samples, labels) of each batch of a client's round."""
    federation, round, client = task.federation, task.round, task.client
    part = federation.threat.samples_of(client, round)
    believed = federation.threat.labels_of(client, round)
    order = stream(federation.seed, Purpose.BATCH_ORDER, round=round, client=client)
    bounds, steps = _bounds(task), steps_of(task)
    for first in range(0, steps, len(bounds)):
        shuffled = order.permutation(len(part))
        for start, stop in bounds[: steps - first]:
            chosen = shuffled[start:stop]
            yield part[chosen], believed[chosen]
