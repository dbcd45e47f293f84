"""Witness of a stacked training: what enters each step, by client, read once at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.attacks.attack import work_in_steps
from fedcore.engine.marks import Known, marks_of
from fedcore.engine.solverlog import SolverLog
from fedcore.engine.stack.schedule import LocalTask, Schedule
from fedcore.engine.stack.step import Batch
from fedcore.engine.witness import Witness
from fedcore.exchange.evidence import FIELDS, Row
from fedcore.exchange.fingerprints import bits, model_hash

_DISTANCES: Final = slice(FIELDS.index("beyond"), FIELDS.index("reach") + 1)


class StackWitness:
    """Notes one training of ``rows``, as ``schedule`` has them; nothing waits for the device."""

    def __init__(
        self, rows: Sequence[LocalTask], schedule: Schedule, device: torch.device, known: Known
    ) -> None:
        federation = rows[0].federation
        self._witness = Witness(federation, device, torch.float32, known)
        self._rows, self._schedule = rows, schedule
        self._vector = self._witness.known.vector.to(device)
        self.log = SolverLog(federation.scenario)
        self._marks: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._look: Look | None = None

    def look(self, weights: torch.Tensor) -> Look:
        """What looks at how far clients go that begin at ``weights`` [K, P]."""
        self._look = Look(self._rows, self._schedule.steps, weights)
        return self._look

    def see(self, batch: Batch) -> None:
        """Note a step: images [batch, K, C, h, w] and labels [K, batch], as it is handed them."""
        images = batch.images
        clients = images.shape[1]
        marks = marks_of(images.flatten(0, 1), self._vector).view(-1, clients).t()
        self._marks.append(marks)
        self._labels.append(batch.labels)

    def models(self, vectors: torch.Tensor, counters: torch.Tensor) -> list[int]:
        """The digest of the model that each row begins from; 0 after round 1."""
        return [
            model_hash(vectors[row], counters[row]) if task.round == 1 else 0
            for row, task in enumerate(self._rows)
        ]

    def noted(self, models: Sequence[int]) -> list[Row]:
        """What has been noted of each row; `models` are those it began from."""
        schedule = self._schedule
        claims = schedule.samples.cpu().numpy()
        marks, labels = np.zeros(claims.shape, np.float32), np.zeros_like(claims)
        for step, (some, given) in enumerate(
            zip(_fetched(self._marks), _fetched(self._labels), strict=True)
        ):
            marks[step, : len(some), : some.shape[1]] = some
            labels[step, : len(given), : given.shape[1]] = given
        own = np.arange(claims.shape[2]) < schedule.sizes[..., None]
        seen = min(len(self._marks), len(claims))
        own[seen:] = False
        fits, moved = self.log.fits(schedule.steps), self.log.all_moved(schedule.steps)
        rows = []
        distances = None if self._look is None else self._look.seen()
        for row, model in enumerate(models):
            chosen = own[:, row]
            rows.append(
                self._witness.row_of(
                    marks[:, row][chosen],
                    labels[:, row][chosen],
                    claims[:, row][chosen],
                    steps=min(self.log.steps, schedule.steps[row]),
                    fit=fits[row],
                    moved=moved[row],
                    model=model,
                )
            )
            if distances is not None:
                rows[-1][_DISTANCES] = [bits(distance) for distance in distances[row]]
        return rows


class Look:
    """Distances from the global parameters, before and after projections that are due.

    As `fedcore.engine.gauge.Gauge`, of the clients of many tasks.
    """

    def __init__(
        self, tasks: Sequence[LocalTask], steps: Sequence[int], weights: torch.Tensor
    ) -> None:
        self._anchors, self._steps, self._taken = weights.clone(), steps, 0
        self._seen = torch.zeros(len(tasks), 2, dtype=torch.float64, device=weights.device)
        self._every = [_every(task) for task in tasks]

    def stepped(self, weights: torch.Tensor) -> None:
        """All of ``weights`` [active, P] have made a step."""
        self._taken += 1
        self._note(weights, 0)

    def projected(self, weights: torch.Tensor) -> None:
        """What follows a step is done."""
        self._note(weights, 1)

    def seen(self) -> list[tuple[float, float]]:
        """(beyond, reach) of each client."""
        return [(beyond, reach) for beyond, reach in self._seen.cpu().tolist()]

    def _note(self, weights: torch.Tensor, which: int) -> None:
        taken = self._taken
        due = [
            row
            for row, every in enumerate(self._every[: len(weights)])
            if every and (taken % every == 0 or taken == self._steps[row])
        ]
        if due:
            gap = weights[due].double() - self._anchors[due].double()
            distance = gap.square().sum(dim=1).sqrt()
            self._seen[due, which] = torch.maximum(self._seen[due, which], distance)


def _every(task: LocalTask) -> int:
    """Steps from one projection of a client to the next; 0: there are none."""
    work, threat = work_in_steps(task.federation.scenario), task.federation.threat
    if work is None or work.radius is None or not threat.acts(task.round):
        return 0
    return work.every if task.client in threat.malicious else 0


def _fetched(tensors: Sequence[torch.Tensor]) -> list[npt.NDArray[Any]]:
    """``tensors`` as arrays of the same shapes, in one transfer."""
    if not tensors:
        return []
    whole = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])[:-1]
    parts = np.split(whole, ends)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
