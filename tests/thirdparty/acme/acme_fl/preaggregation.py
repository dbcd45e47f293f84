"""A step in front of any strategy."""

import torch

from fedcore.components import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.preaggregation.preaggregation import PREAGGREGATIONS, PreAggregation


@PREAGGREGATIONS.register("huddle", "draws every update towards the median of all")
class Huddle(PreAggregation):
    """r_i' = r_i + pull * (median - r_i), coordinate by coordinate; rows stay those of clients."""

    pull: float = param("part of the way to the median", default=0.5, low=0, high=1)

    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        """The drawn rows [K, P], and the cohort as it was."""
        median = updates.median(dim=0).values
        return updates + self.pull * (median - updates), cohort
