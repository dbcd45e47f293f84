"""What the rules share that are told how many malicious clients to withstand, fewer than half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Memory, Noted
from fedcore.strategies.strategy import Strategy, combine, combine_some, counted, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class Minority(Strategy):
    """A rule that needs K > 2 f. f is ``num_byzantine``; None takes the largest, (K - 1) // 2."""

    buffer_rule = "median"
    num_byzantine: int | None = param(
        "f: malicious clients to withstand", default=None, low=0, token="f"
    )

    def tolerated(self, clients: int) -> int:
        """F as given, else the largest that ``clients`` > 2 f admits (at least 1)."""
        return max(1, (clients - 1) // 2) if self.num_byzantine is None else self.num_byzantine

    def kept(self, clients: int) -> int:
        """K - f; in a round of 2 f clients or fewer, over a network, f is (K - 1) // 2."""
        return clients - min(self.tolerated(clients), (clients - 1) // 2)

    def withstands(self, rows: int) -> int | None:
        return rows - self.kept(rows)

    def problems(self, scenario: Scenario) -> list[str]:
        f = self.tolerated(scenario.rows)
        if scenario.rows > 2 * f:
            return []
        return [
            f"strategy {scenario.strategy!r} needs a cohort > 2 f, got {counted(scenario)} <= "
            f"2 * {f}: enlarge the cohort (fraction_train * num_clients) or lower num_byzantine"
        ]


def finite_rows(updates: torch.Tensor) -> list[int]:
    """The rows of ``updates`` [K, P] whose numbers are all finite, ascending."""
    sums = updates.sum(dim=1).isfinite().tolist()  # no finite sum has a term that is not
    return [row for row, sure in enumerate(sums) if sure or bool(updates[row].isfinite().all())]


def mean_of(
    updates: torch.Tensor, chosen: list[int], memory: dict[str, torch.Tensor]
) -> torch.Tensor:
    """The unweighted mean of the ``chosen`` rows, [P], noted in ``memory``; of all if none is."""
    size = len(updates)
    if not chosen:
        return combine(updates, torch.full((size,), 1 / size, dtype=torch.float64))
    shares = torch.full((len(chosen),), 1 / len(chosen), dtype=torch.float64)
    Memory.of(memory).noted = Noted(weighing(size, chosen, shares.tolist()))
    return combine_some(updates, chosen, shares)
