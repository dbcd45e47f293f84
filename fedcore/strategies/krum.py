"""Krum and Multi-Krum: trust the updates that have close neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.strategies.base import STRATEGIES, Cohort, Strategy

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register(
    "krum", "the update nearest its neighbours (Blanchard et al. 2017)", num_byzantine=None
)
class Krum(Strategy):
    """The update with the least sum of squared distances to its K - f - 2 nearest others.

    Needs K > 2f + 2. f is ``num_byzantine``; None takes the largest admissible, (K - 3) // 2.
    Distances are between updates, not whole models, and in float64: in float32 they drown in the
    norm of the model. Ties go to the client of lowest number.
    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries",
    NeurIPS 2017, section 4.
    """

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return updates[self.ranked(updates)[0]]

    def ranked(self, updates: torch.Tensor) -> list[int]:
        """Rows of ``updates`` [K, P] by ascending Krum score."""
        neighbours = len(updates) - self.tolerated(len(updates)) - 2
        return torch.argsort(scores(updates, neighbours), stable=True).tolist()

    def tolerated(self, clients: int) -> int:
        """F for a cohort of ``clients``."""
        return byzantine(self.scenario, clients)

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        return len(cohort.clients) > 1

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        size = scenario.cohort_size
        f = byzantine(scenario, size)
        if f >= 0 and size > 2 * f + 2:
            return []
        return [
            f"strategy {scenario.strategy!r} needs a cohort > 2 f + 2, got "
            f"{size} <= 2 * {max(f, 0)} + 2: "
            "enlarge the cohort (fraction_train * num_clients) or lower num_byzantine"
        ]


def byzantine(scenario: Scenario, clients: int) -> int:
    """F as given, else the largest that ``clients`` > 2 f + 2 admits (-1 if none does)."""
    return (clients - 3) // 2 if scenario.num_byzantine is None else scenario.num_byzantine


def squared_distances(updates: torch.Tensor, chunk: int = 1 << 18) -> torch.Tensor:
    """Pairwise squared distances [K, K] float64 of ``updates`` [K, P], inf where not finite."""
    gram = torch.zeros(len(updates), len(updates), dtype=torch.float64, device=updates.device)
    for start in range(0, updates.shape[1], chunk):  # chunks bound the float64 copy
        wide = updates[:, start : start + chunk].to(torch.float64)
        gram.addmm_(wide, wide.T)
    norms = gram.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp_(min=0)
    return distances.nan_to_num_(nan=float("inf"), posinf=float("inf"))


def scores(updates: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Krum's score of each row: the sum of its ``neighbours`` least squared distances, [K]."""
    distances = squared_distances(updates).fill_diagonal_(float("inf"))
    return distances.sort(dim=1).values[:, :neighbours].sum(dim=1)
