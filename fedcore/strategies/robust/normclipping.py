"""Norm clipping: no update counts for more than its direction and a bounded length."""

from __future__ import annotations

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.distances import lengths
from fedcore.strategies.robust_definitions import NORM_CLIPPING
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine, combine_some


@STRATEGIES.register("normclipping", "mean of clipped updates (Sun et al. 2019)")
class NormClipping(Strategy):
    """x+ = x + sum_i p_i u_i min(1, M / ||u_i||), p_i = n_i / sum n_j, M = ``norm_bound``.

    A large M is FedAvg. An update that is not finite counts as zero.
    Source: Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019,
    norm thresholding of updates.
    """

    definition = NORM_CLIPPING
    buffer_rule = "median"
    norm_bound: float = param(
        "length that an update is clipped to", default=1.0, low=0, open_low=True, token="bound"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        norms = lengths(updates, torch.zeros_like(updates[0]))
        rows = norms.isfinite().nonzero().flatten().tolist()
        weights = cohort.weights.to(updates.device)
        if not rows:
            return combine(updates, weights)
        clipped = weights * clip_factors(norms, self.norm_bound)
        Memory.of(memory).noted = Noted(tuple(clipped.tolist()), by_samples=True)
        return combine_some(updates, rows, clipped[rows])


def clip_factors(norms: torch.Tensor, most: float) -> torch.Tensor:
    """min(1, most / norm) of each of ``norms`` [K]; 1 where the norm is 0, 0 where infinite."""
    return (most / norms).clamp(max=1)
