"""Coordinate-wise median."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.order_statistics import middle_mean
from fedcore.strategies.robust_definitions import MEDIAN
from fedcore.strategies.strategy import STRATEGIES, Strategy, counted

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("median", "coordinate-wise median (Yin et al. 2018)")
class Median(Strategy):
    """The unweighted median of every coordinate over the cohort.

    Where the cohort is even, the mean of the middle two. A NaN counts as plus infinity.
    Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning", ICML 2018,
    definition 1.
    """

    definition = MEDIAN
    buffer_rule = "median"

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return middle_mean(updates, (len(updates) - 1) // 2)

    def withstands(self, rows: int) -> int | None:
        return (rows - 1) // 2

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.rows >= 3:
            return []
        return [
            f"strategy 'median' of fewer than 3 clients is their mean, got a cohort of "
            f"{counted(scenario)}: raise fraction_train or num_clients"
        ]
