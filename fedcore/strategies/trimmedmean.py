"""Coordinate-wise trimmed mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.order_statistics import middle_mean
from fedcore.strategies.robust_definitions import TRIMMED_MEAN
from fedcore.strategies.strategy import STRATEGIES, Strategy

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register(
    "trimmedmean", "coordinate-wise trimmed mean (Yin et al. 2018)", trim_fraction=0.2
)
class TrimmedMean(Strategy):
    """Per coordinate, the mean without the floor(trim_fraction * K) lowest and highest values.

    Unweighted; a NaN counts as plus infinity. Source: Yin, Chen, Ramchandran, Bartlett, ICML 2018,
    definition 2; it withstands a share of malicious clients up to trim_fraction.
    """

    definition = TRIMMED_MEAN

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return middle_mean(updates, trimmed(self.scenario, len(updates)))

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        cut = trimmed(scenario, scenario.cohort_size)
        if cut > 0:
            return []
        return [
            f"strategy 'trimmedmean' must trim somebody: floor(trim_fraction * cohort) = "
            f"floor({scenario.trim_fraction} * {scenario.cohort_size}) = 0: raise either"
        ]


def trimmed(scenario: Scenario, clients: int) -> int:
    """How many values go at each end of ``clients``."""
    assert scenario.trim_fraction is not None
    return int(scenario.trim_fraction * clients + 1e-9)
