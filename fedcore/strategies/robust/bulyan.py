"""Bulyan: Krum chooses whom to trust, a mean around the median what to take from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.distances import least_scores, squared_distances
from fedcore.strategies.robust_definitions import BULYAN
from fedcore.strategies.strategy import STRATEGIES, Strategy, counted, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@STRATEGIES.register("bulyan", "Krum, then a mean around the median (El Mhamdi et al. 2018)")
class Bulyan(Strategy):
    """Per coordinate, the mean of the theta - 2 f values nearest the median of theta updates.

    Krum chooses these theta = K - 2 f one after the other, each among those that are left; where r
    are left it sums the max(1, r - f - 2) nearest distances. (Two that are each other's one nearest
    tie: then more neighbours decide.) Needs K >= 4 f + 3 and f >= 1; f = 0 is the plain mean.
    f is ``num_byzantine``; None takes the largest admissible, (K - 3) // 4.
    The median is one of the theta values, as in the paper: the one with the least sum of distances
    to all. Of an even number of values the middle two have it; the lower is taken, as is the lower
    of two values equally near the median. Unweighted.
    Source: El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in
    Byzantium", ICML 2018.
    """

    definition = BULYAN
    buffer_rule = "median"
    may_ignore_clients = True
    num_byzantine: int | None = param(
        "f: malicious clients to withstand", default=None, low=0, token="f"
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        f = self.tolerated(len(updates))
        rows = trusted(updates, f)
        Memory.of(memory).noted = Noted(weighing(len(updates), rows, [1.0] * len(rows)))
        chosen = torch.tensor(rows, device=updates.device)
        parts = torch.split(updates, 1 << 22 if updates.is_cuda else 1 << 14, dim=1)
        keep = len(chosen) - 2 * f
        return torch.cat([around_median(part.index_select(0, chosen), keep) for part in parts])

    def tolerated(self, clients: int) -> int:
        """F as given, else the largest with ``clients`` >= 4 f + 3 (-1 or 0 if there is none)."""
        return (clients - 3) // 4 if self.num_byzantine is None else self.num_byzantine

    def withstands(self, rows: int) -> int | None:
        return max(0, self.tolerated(rows))

    def problems(self, scenario: Scenario) -> list[str]:
        size = scenario.rows
        f = self.tolerated(size)
        if f >= 1 and size >= 4 * f + 3:
            return []
        return [
            f"strategy 'bulyan' needs a cohort >= 4 f + 3 and f >= 1, got {counted(scenario)} with "
            f"f = {max(f, 0)}: enlarge the cohort (fraction_train * num_clients) to "
            f"{4 * max(f, 1) + 3}, or change num_byzantine"
        ]


def trusted(updates: torch.Tensor, f: int) -> list[int]:
    """The rows of ``updates`` [K, P] that Krum chooses one after the other, K - 2 f of them."""
    size = len(updates)
    own = torch.arange(size, device=updates.device)
    centre = updates[least_scores(updates, size - f - 2, 1)[0]]
    distances = squared_distances(updates, own, centre).cpu().fill_diagonal_(float("inf"))
    distances = (distances + distances.T) / 2  # rounding must not decide between two neighbours
    left, chosen = list(range(size)), []
    for _ in range(size - 2 * f):
        sums = distances[left][:, left].sort(dim=1).values.cumsum(dim=1)
        sums = sums[:, max(1, len(left) - f - 2) - 1 :]  # the score, then of ever more neighbours
        tied = (sums[:, 0] == sums[:, 0].min()).nonzero().flatten().tolist()
        chosen.append(left.pop(min(tied, key=sums.tolist().__getitem__)))
    return chosen


def around_median(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The mean of each coordinate's ``count`` values that are nearest to its lower median, [n].

    In order of size these follow on one another. The first of them is found by moving on from the
    least while the value that would leave is further from the median than the one that would come.
    """
    ordered = rows.T.contiguous().sort(dim=1).values
    size = len(rows)
    median = ordered[:, (size - 1) // 2, None]
    further = median - ordered[:, : size - count] > ordered[:, count:] - median
    places = further.sum(dim=1, keepdim=True) + torch.arange(count, device=rows.device)
    return ordered.gather(1, places).mean(dim=1)
