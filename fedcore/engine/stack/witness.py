"""Witness of a stacked training: what enters each step, by client, read once at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedcore.engine.marks import Known, marks_of
from fedcore.engine.solverlog import SolverLog
from fedcore.engine.stack.schedule import LocalTask, Schedule
from fedcore.engine.stack.step import Batch
from fedcore.engine.witness import Witness
from fedcore.exchange.evidence import Row
from fedcore.exchange.fingerprints import model_hash


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
        return rows


def _fetched(tensors: Sequence[torch.Tensor]) -> list[npt.NDArray[Any]]:
    """``tensors`` as arrays of the same shapes, in one transfer."""
    if not tensors:
        return []
    whole = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])[:-1]
    parts = np.split(whole, ends)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
