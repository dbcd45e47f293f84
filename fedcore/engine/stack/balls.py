"""Projections onto balls around the global model, of clients that train side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedcore.attacks.attack import work_in_steps
from fedcore.engine.stack.schedule import LocalTask
from fedcore.streams import Indices


class Balls:
    """The clients among ``rows`` that stay within a ball, as `Work` says; ``steps`` [K] of each.

    Once per training: ``anchors`` [K, P] are the global parameters.
    """

    def __init__(
        self, rows: Sequence[LocalTask], steps: Sequence[int], anchors: torch.Tensor
    ) -> None:
        self.radius, self.every = np.full(len(rows), np.inf), np.ones(len(rows), np.int64)
        for row, task in enumerate(rows):
            work, threat = work_in_steps(task.federation.scenario), task.federation.threat
            if work is None or work.radius is None or not threat.acts(task.round):
                continue
            if task.client in threat.malicious:
                self.radius[row], self.every[row] = work.radius, work.every
        self._steps = np.asarray(steps)
        self._anchors, self._radius = anchors, torch.from_numpy(self.radius).to(anchors.device)

    def due(self, taken: int, active: int) -> Indices:
        """The rows among the first ``active`` that are projected after ``taken`` steps, [k]."""
        every, steps = self.every[:active], self._steps[:active]
        due = (taken % every == 0) | (taken == steps)
        return np.flatnonzero(due & np.isfinite(self.radius[:active]))

    def project(self, weights: torch.Tensor, taken: int) -> bool:
        """Project what is due of ``weights`` [active, P] in place; whether anything was due."""
        due = self.due(taken, len(weights))
        if not len(due):
            return False
        rows = torch.from_numpy(due).to(weights.device)
        own, anchors = weights[rows], self._anchors[rows]
        way = own - anchors
        distance, radius = way.double().norm(dim=1), self._radius[rows]
        beyond = distance > radius
        # what stays inside stays as it is, bit for bit
        factor = torch.where(beyond, radius / distance, 1.0).to(weights.dtype)
        moved = torch.addcmul(anchors, way, factor[:, None])
        weights[rows] = torch.where(beyond[:, None], moved, own)
        return True


def balls_of(
    rows: Sequence[LocalTask], steps: Sequence[int], weights: torch.Tensor
) -> Balls | None:
    """The balls of ``rows``, who begin at ``weights`` [K, P]; None where nobody has one."""
    if all(work_in_steps(task.federation.scenario) is None for task in rows):
        return None
    return Balls(rows, steps, weights.clone())
