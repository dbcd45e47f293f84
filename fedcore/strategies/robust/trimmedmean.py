"""Coordinate-wise trimmed mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.order_statistics import middle_mean
from fedcore.strategies.robust_definitions import TRIMMED_MEAN
from fedcore.strategies.strategy import STRATEGIES, Strategy

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("trimmedmean", "coordinate-wise trimmed mean (Yin et al. 2018)")
class TrimmedMean(Strategy):
    """Per coordinate, the mean without the floor(trim_fraction * K) lowest and highest values.

    Unweighted; a NaN counts as plus infinity. Source: Yin, Chen, Ramchandran, Bartlett, ICML 2018,
    definition 2; it withstands a share of malicious clients up to trim_fraction.
    """

    definition = TRIMMED_MEAN
    buffer_rule = "median"
    trim_fraction: float = param(
        "share trimmed at each end", default=0.2, low=0, high=0.5, open_high=True, token="trim"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return middle_mean(updates, self.trimmed(len(updates)))

    def withstands(self, rows: int) -> int | None:
        return self.trimmed(rows)

    def trimmed(self, clients: int) -> int:
        """How many values go at each end of ``clients``."""
        return int(self.trim_fraction * clients + 1e-9)

    def problems(self, scenario: Scenario) -> list[str]:
        if self.trimmed(scenario.rows) > 0:
            return []
        crowd = "rows" if scenario.parts.preaggregation else "cohort"
        return [
            f"strategy 'trimmedmean' must trim somebody: floor(trim_fraction * {crowd}) = "
            f"floor({self.trim_fraction} * {scenario.rows}) = 0: raise either"
        ]
