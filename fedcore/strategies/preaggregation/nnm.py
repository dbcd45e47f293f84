"""Nearest-neighbour mixing: every update is replaced by the mean of those nearest to it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.distances import mixtures, nearest
from fedcore.strategies.preaggregation.definitions import MixDefinition, Mixed, MixView
from fedcore.strategies.preaggregation.preaggregation import (
    PREAGGREGATIONS,
    PreAggregation,
    minority_problems,
)

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_NEAR = 1e-6  # share of a distance below which two count as equal


@PREAGGREGATIONS.register("nnm", "means of each update's neighbours (Allouah et al. 2023)")
class NearestNeighbourMixing(PreAggregation):
    """y_i = mean of the K - f updates nearest to u_i, itself included; K are the rows given.

    Needs K > 2 f. f is ``num_byzantine``; None takes the largest below K / 2. Behind bucketing f is
    not rescaled: f malicious clients spoil f buckets at most. Means are unweighted, as in the
    paper; a row has the samples and steps of its neighbours together. f = 0 makes every row the
    mean.

    Distances are those of float64; ties go to the lowest row. A row that is not finite is in no
    mean, and stays as it is, for the rule behind it to leave out. Where fewer than K - f rows are
    finite, all of these are mixed.

    Row i is no longer client i's alone: a client that the rule behind leaves out still is part of
    its neighbours' rows. So its weight in the step is that of `Cohort.mixing`, sum_r c_r M_ri, not
    the coefficient of its row.
    Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for
    Optimal Byzantine ML under Heterogeneity", AISTATS 2023, algorithm 2.
    """

    definition = MixDefinition("the means of nearest neighbours", lambda view: _due(view))
    num_byzantine: int | None = param(
        "f: malicious rows to withstand", default=None, low=0, token="f"
    )

    def neighbours(self, rows: int) -> int:
        """Rows in each mean of so many ``rows``: K - f."""
        return rows - ((rows - 1) // 2 if self.num_byzantine is None else self.num_byzantine)

    def withstands(self, rows: int) -> int | None:
        return rows - self.neighbours(rows)

    def problems(self, scenario: Scenario) -> list[str]:
        return minority_problems(self, self.num_byzantine, scenario)

    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        near = nearest(updates, max(1, self.neighbours(len(updates))))
        finite = near.any(dim=1)
        weights = near.double() / near.sum(dim=1, keepdim=True).clamp(min=1)
        if bool(finite.all()):
            rows = mixtures(updates, weights)
        else:  # 0 times NaN would be NaN
            rows = updates.clone()
            rows[finite] = mixtures(updates[finite], weights[finite][:, finite])
        members = near | torch.diag(~finite)
        mixing = (weights + torch.diag(~finite)).cpu().numpy()
        return rows, dataclasses.replace(
            cohort,
            samples=_sums(members, cohort.samples),
            steps=_sums(members, cohort.steps),
            normalizers=(None,) * len(rows),
            mixing=mixing,
        )


def _sums(members: torch.Tensor, facts: tuple[int, ...]) -> tuple[int, ...]:
    values = torch.tensor(facts, dtype=torch.float64)
    return tuple(int(total) for total in (members.cpu().double() @ values).tolist())


def _due(view: MixView) -> Mixed:
    """The rows that the neighbours named by the mix give; those of one row are looked for again."""
    count = len(view.rows)
    told = view.mixing
    if told is None or told.shape != (count, count):
        own = np.eye(count)
        return Mixed(
            own, view.samples, view.steps, view.normalizers, "it does not say whom it mixed"
        )
    f = view.link.num_byzantine
    wanted = count - ((count - 1) // 2 if f is None else f)
    row, gaps = _one_row(view)
    # a row is out of reach exactly where it is infinitely far from a finite one
    finite = np.zeros(count, dtype=np.bool_) if row is None else np.isfinite(gaps)
    wanted = min(wanted, int(finite.sum()))
    near = (told != 0) & finite[:, None]
    matrix = near / max(1, wanted) + np.diag(~finite).astype(np.float64)
    members = matrix != 0
    samples, steps = (
        tuple((members @ np.asarray(facts)).tolist()) for facts in (view.samples, view.steps)
    )
    problem = None
    if (near.sum(axis=1) != wanted * finite).any():
        problem = f"a row is not the mean of {wanted}"
    elif near[:, ~finite].any():
        problem = "a row that is not finite is part of another"
    elif not near.diagonal()[finite].all():
        problem = "a row is not among its own neighbours"
    elif row is not None:
        far = gaps[finite & ~near[row]]
        if len(far) and gaps[near[row]].max() > far.min() * (1 + _NEAR):
            problem = f"row {row} has nearer neighbours than those that it is mixed of"
    return Mixed(matrix, samples, steps, (None,) * count, problem)


def _one_row(view: MixView) -> tuple[int | None, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The first finite row from the drawn one on, and its distances to all rows; else None."""
    count = len(view.rows)
    for row in (np.arange(count) + view.drawn) % count:
        if np.isfinite(view.distance(int(row), None)):
            gaps = [view.distance(int(row), other) for other in range(count)]
            return int(row), np.asarray(gaps)
    return None, np.full(count, np.inf)
