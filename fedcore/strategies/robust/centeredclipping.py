"""Centered clipping: updates are clipped around what was last agreed on."""

from __future__ import annotations

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.distances import lengths
from fedcore.strategies.robust.normclipping import clip_factors
from fedcore.strategies.robust_definitions import CENTERED_CLIPPING
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine_some, weighing


@STRATEGIES.register(
    "centeredclipping", "clipping around the last aggregate (Karimireddy et al. 2021)"
)
class CenteredClipping(Strategy):
    """v = v + 1/K sum_i (u_i - v) min(1, tau / ||u_i - v||), ``aggregation_iterations`` times.

    v starts at the last round's aggregate, at 0 in the first; tau is ``norm_bound``. A large tau is
    the unweighted mean. An update that is not finite counts as v.
    Source: Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", ICML
    2021, CenteredClip. Its clients send momenta of their own, kept over rounds; here they send
    updates, made anew each round.
    """

    definition = CENTERED_CLIPPING
    buffer_rule = "median"
    norm_bound: float = param(
        "length that an update is clipped to", default=1.0, low=0, open_low=True, token="bound"
    )
    aggregation_iterations: int = param("server iterations a round", default=1, low=1, token="iter")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        point = memory["centre"] if "centre" in memory else torch.zeros_like(updates[0])
        passes = []
        for _ in range(self.aggregation_iterations):
            distances = lengths(updates, point)
            rows = distances.isfinite().nonzero().flatten().tolist()
            if not rows:
                return updates.mean(dim=0)
            shares = clip_factors(distances[rows], self.norm_bound) / len(updates)
            passes.append(weighing(len(updates), rows, shares.tolist()))
            point = (1 - float(shares.sum())) * point + combine_some(updates, rows, shares)
        memory["centre"] = point
        Memory.of(memory).noted = Noted(passes[-1], tuple(passes))
        return point
