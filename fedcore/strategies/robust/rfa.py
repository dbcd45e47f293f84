"""RFA: the geometric median of the updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.distances import lengths
from fedcore.strategies.robust_definitions import RFA as DEFINITION
from fedcore.strategies.strategy import (
    STRATEGIES,
    Strategy,
    combine,
    combine_some,
    counted,
    weighing,
)

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# The point has arrived once it moves by less than this share of the median distance from it. (The
# paper watches the sum of distances, which one huge update makes blind to all others.)
_SETTLED = 1e-5
_TALLIES = ("steps", "unsettled", "furthest")


@STRATEGIES.register("rfa", "geometric median (Pillutla et al. 2022)")
class RFA(Strategy):
    """The point v with the least sum_i p_i ||v - u_i||, p_i = n_i / sum n_j.

    By the smoothed Weiszfeld algorithm from the weighted mean: v = sum_i b_i u_i / sum_i b_i with
    b_i = p_i / max(nu, ||v - u_i||), nu = ``smoothing``, at most ``aggregation_iterations`` times,
    until it moves by less than 1e-5 of the median distance. The paper stops after 3 rounds of
    secure aggregation; a server that sees the updates need not, and a huge update takes more.
    A round that ends sooner is counted and named by `remarks`. Updates that are not finite are left
    out.
    Source: Pillutla, Kakade, Harchaoui, "Robust Aggregation for Federated Learning", IEEE
    Transactions on Signal Processing 2022 (arXiv 2019).
    """

    definition = DEFINITION
    buffer_rule = "median"
    aggregation_iterations: int = param(
        "server iterations a round", default=100, low=1, token="iter"
    )
    smoothing: float = param(
        "distance below which all updates weigh alike",
        default=1e-6,
        low=0,
        open_low=True,
        token="nu",
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        weights = cohort.weights.to(updates.device)
        finite = lengths(updates, torch.zeros_like(updates[0])).isfinite()
        rows = finite.nonzero().flatten().tolist()
        if not rows:
            return combine(updates, weights)
        weights = weights[rows] / weights[rows].sum()
        point = combine_some(updates, rows, weights)
        for _ in range(self.aggregation_iterations):
            distances = lengths(updates, point)[rows]
            pulls = weights / distances.clamp(min=self.smoothing)
            shares = pulls / pulls.sum()
            before, point = point, combine_some(updates, rows, shares)
            moved, scale = (point - before).norm(), distances.median()
            if settled := bool(moved <= _SETTLED * scale):
                break
        kept = Memory.of(memory)
        tallies = {**dict.fromkeys(_TALLIES, 0.0), **kept.tallies}
        tallies["steps"] += 1
        resting = float(point.norm()) * torch.finfo(point.dtype).eps  # a move of rounding is none
        if not settled and moved > 4 * resting:
            tallies["unsettled"] += 1
            tallies["furthest"] = max(tallies["furthest"], float(moved / scale))
        kept.tallies = tallies
        coefficients = weighing(len(updates), rows, shares.tolist())
        kept.noted = Noted(coefficients, settled=settled, by_samples=True)
        return point

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        steps, unsettled, furthest = (memory.tallies.get(name, 0.0) for name in _TALLIES)
        if not unsettled:
            return ()
        return (
            f"the geometric median did not converge within aggregation_iterations="
            f"{self.aggregation_iterations} in {unsettled:g} of {steps:g} rounds: "
            f"its last move was up to {furthest:.2g} of the median distance from it, "
            f"{_SETTLED:g} is the tolerance",
        )

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.rows >= 3:
            return []
        return [
            f"strategy 'rfa' of fewer than 3 clients withstands nobody, got a cohort of "
            f"{counted(scenario)}: raise fraction_train or num_clients"
        ]
