"""Krum: trust the update that has close neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.distances import least_scores
from fedcore.strategies.robust_definitions import KRUM
from fedcore.strategies.strategy import STRATEGIES, Strategy, counted, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("krum", "the update nearest its neighbours (Blanchard et al. 2017)")
class Krum(Strategy):
    """The update with the least sum of squared distances to its K - f - 2 nearest others.

    Needs K > 2f + 2. f is ``num_byzantine``; None takes the largest admissible, (K - 3) // 2.
    Distances are between updates, not whole models, and the choice is that of float64: in float32
    distances drown in the norm of the model. Ties go to the client of lowest number.
    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries",
    NeurIPS 2017, section 4.
    """

    definition = KRUM
    buffer_rule = "median"
    may_ignore_clients = True
    num_byzantine: int | None = param(
        "f: malicious clients to withstand", default=None, low=0, token="f"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        best = self.best(updates, 1)
        Memory.of(memory).noted = Noted(weighing(len(updates), best, [1.0]))
        return updates[best[0]]

    def best(self, updates: torch.Tensor, count: int) -> list[int]:
        """The ``count`` rows of ``updates`` [K, P] with the least Krum scores, ascending."""
        return least_scores(updates, len(updates) - self.tolerated(len(updates)) - 2, count)

    def tolerated(self, clients: int) -> int:
        """F as given, else the largest that ``clients`` > 2 f + 2 admits (-1 if none does)."""
        return (clients - 3) // 2 if self.num_byzantine is None else self.num_byzantine

    def withstands(self, rows: int) -> int | None:
        return max(0, self.tolerated(rows))

    def problems(self, scenario: Scenario) -> list[str]:
        size = scenario.rows
        f = self.tolerated(size)
        if f >= 0 and size > 2 * f + 2:
            return []
        return [
            f"strategy {scenario.strategy!r} needs a cohort > 2 f + 2, got "
            f"{counted(scenario)} <= 2 * {max(f, 0)} + 2: "
            "enlarge the cohort (fraction_train * num_clients) or lower num_byzantine"
        ]
