"""MeaMed: the mean around the median of every coordinate."""

from __future__ import annotations

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.definitions import Definition, Expected, View
from fedcore.strategies.robust.minority import Minority
from fedcore.strategies.strategy import STRATEGIES

_BYTES, _GPU = 1_300_000, 1 << 30  # of rows that are sorted at a time: a core's cache


@STRATEGIES.register("meamed", "mean around the median (Xie et al. 2018)")
class MeaMed(Minority):
    """Per coordinate, the mean of the K - f values nearest the median; f = 0 is the mean.

    Unweighted. The median is that of `Median`: of an even number of values the mean of the middle
    two, so that both are equally near, as in ByzFL; code that calls torch.median takes the lower of
    the two for it. Of two values equally near the median the lower is taken. A NaN counts as plus
    infinity. Needs K > 2 f; f is ``num_byzantine``, None takes (K - 1) // 2.
    Source: Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018, mean around median.
    """

    definition = Definition("the mean around the median", lambda view: _around(view))

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        keep = self.kept(len(updates))
        budget = _GPU if updates.is_cuda else _BYTES
        width = max(16, budget // (len(updates) * updates.element_size()) // 16 * 16)
        parts = torch.split(updates, width, dim=1)
        return torch.cat([mean_around_median(part, keep) for part in parts])


def mean_around_median(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The mean of each coordinate's ``count`` values nearest its median, [n], of ``rows`` [K, n].

    ``count`` > K / 2. In order of size these follow on one another: of K - f values all but the f
    least and greatest are among them for sure, and the i-th least or the i-th of the greatest, by
    which of the two is nearer the median.
    """
    ordered = _sorted(rows)
    size, f = len(rows), len(rows) - count
    median = ordered[(size - 1) // 2] / 2 + ordered[size // 2] / 2
    least, greatest = ordered[:f], ordered[count:]
    nearer = torch.where(median - least > greatest - median, greatest, least)
    return nearer.sum(dim=0).add_(ordered[f:count].sum(dim=0)).div_(count)


def _sorted(rows: torch.Tensor) -> torch.Tensor:
    """Each column of ``rows`` [K, n] in ascending order; a NaN becomes plus infinity."""
    if rows.is_cuda:
        ordered = rows.sort(dim=0).values
    else:
        ordered = torch.from_numpy(np.sort(rows.numpy(), axis=0))  # torch's is not vectorised
    return ordered.nan_to_num_(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _around(view: View) -> Expected:
    size, f = len(view.rows), view.strategy.num_byzantine
    most = (size - 1) // 2
    keep = size - (most if f is None else min(f, most))
    values = np.where(np.isnan(view.rows), np.inf, view.rows)
    gaps = np.abs(values - np.median(values, axis=0))
    order = np.lexsort((values, gaps), axis=0)  # by the gap, then the value
    nearest = np.take_along_axis(values, order, axis=0)[:keep]
    error = view.unit * np.abs(nearest).mean(axis=0)
    if keep < size:  # near a tie rounding decides which of two values counts
        edge = np.take_along_axis(gaps, order, axis=0)[keep - 1 : keep + 1]
        both = np.abs(np.take_along_axis(values, order, axis=0)[keep - 1 : keep + 1]).sum(axis=0)
        tied = edge[1] - edge[0] <= view.unit * (both + np.abs(np.median(values, axis=0)))
        error = np.where(tied | np.isnan(edge).any(axis=0), np.inf, error)
    return Expected(nearest.mean(axis=0), error)
