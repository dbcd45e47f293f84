"""Multi-Krum: the mean of the updates with the best Krum scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.robust.krum import Krum
from fedcore.strategies.robust_definitions import MULTIKRUM
from fedcore.strategies.strategy import STRATEGIES, combine_some, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("multikrum", "mean of the best by Krum's score (Blanchard et al. 2017)")
class MultiKrum(Krum):
    """The unweighted mean of the m updates with the least Krum scores; m = 1 is Krum.

    m is ``num_selected``; None takes K - f. Source: Blanchard et al., NeurIPS 2017, section 4.
    """

    definition = MULTIKRUM
    num_selected: int | None = param("m: updates to average", default=None, low=1, token="m")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        best = self.best(updates, self.selected(len(updates)))
        shares = torch.full((len(best),), 1 / len(best), dtype=torch.float64)
        Memory.of(memory).noted = Noted(weighing(len(updates), best, shares.tolist()))
        return combine_some(updates, best, shares)

    def selected(self, clients: int) -> int:
        """M for a cohort of ``clients``."""
        m = self.num_selected
        return clients - self.tolerated(clients) if m is None else m

    def problems(self, scenario: Scenario) -> list[str]:
        found = super().problems(scenario)
        size, m = scenario.rows, self.num_selected
        most = size - max(self.tolerated(size), 0)
        if m is not None and m > most:
            found.append(f"num_selected must be <= cohort - f = {most}, got {m}: lower it")
        return found
