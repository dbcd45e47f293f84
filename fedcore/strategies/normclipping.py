"""Norm clipping: no update counts for more than its direction and a bounded length."""

from __future__ import annotations

import torch

from fedcore.strategies.base import STRATEGIES, Cohort, Strategy, combine, combine_some
from fedcore.strategies.distances import lengths


@STRATEGIES.register("normclipping", "mean of clipped updates (Sun et al. 2019)", norm_bound=1.0)
class NormClipping(Strategy):
    """x+ = x + sum_i p_i u_i min(1, M / ||u_i||), p_i = n_i / sum n_j, M = ``norm_bound``.

    A large M is FedAvg. An update that is not finite counts as zero.
    Source: Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019,
    norm thresholding of updates.
    """

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        norms = lengths(updates, torch.zeros_like(updates[0]))
        rows = norms.isfinite().nonzero().flatten().tolist()
        weights = cohort.weights.to(updates.device)
        if not rows:
            return combine(updates, weights)
        clipped = weights * clip_factors(norms, self.scenario.norm_bound)
        return combine_some(updates, rows, clipped[rows])

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        norms = lengths(cohort.updates, torch.zeros_like(cohort.updates[0]))
        return bites(clip_factors(norms, self.scenario.norm_bound))


def clip_factors(norms: torch.Tensor, most: float | None) -> torch.Tensor:
    """min(1, most / norm) of each of ``norms`` [K]; 1 where the norm is 0, 0 where infinite."""
    assert most is not None
    return (most / norms).clamp(max=1)


def bites(factors: torch.Tensor) -> bool:
    """Whether clipping by ``factors`` [K] can be seen: somebody loses more than 1 in 1,000."""
    return bool((factors < 0.999).any())
