"""ARC: as many of the longest updates are shortened as attackers could have made the longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.distances import lengths
from fedcore.strategies.preaggregation.clipping import scaled
from fedcore.strategies.preaggregation.definitions import MixDefinition, Mixed, MixView
from fedcore.strategies.preaggregation.preaggregation import (
    PREAGGREGATIONS,
    PreAggregation,
    minority_problems,
)

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_SHARE = 1e-6  # relative error that a factor may have


@PREAGGREGATIONS.register("arc", "adaptive robust clipping (Allouah et al. 2025)")
class AdaptiveRobustClipping(PreAggregation):
    """y_i = u_i min(1, C / ||u_i||), C the (k + 1)-th largest length, k = floor(2 (f/K) (K - f)).

    Needs K > 2 f, K the rows given. f is ``num_byzantine``; None takes the largest below K / 2.
    Behind bucketing f is not rescaled. f = 0 leaves all as they are. An update that is not finite
    counts among the longest and becomes 0; where more than k are not finite, nothing else is
    clipped.
    Source: Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, "Adaptive Gradient Clipping for
    Robust Federated Learning", ICLR 2025, algorithm 2.
    """

    definition = MixDefinition("the updates clipped to the (k+1)-th length", lambda v: _due(v))
    keeps_clients = True
    num_byzantine: int | None = param(
        "f: malicious rows to withstand", default=None, low=0, token="f"
    )

    def clipped(self, rows: int) -> int:
        """K: how many of so many ``rows`` are clipped, at most."""
        f = self.withstands(rows)
        return 2 * f * (rows - f) // rows

    def withstands(self, rows: int) -> int:
        return (rows - 1) // 2 if self.num_byzantine is None else self.num_byzantine

    def problems(self, scenario: Scenario) -> list[str]:
        return minority_problems(self, self.num_byzantine, scenario)

    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        norms = lengths(updates, torch.zeros_like(updates[0]))
        bound = norms.sort(descending=True).values[self.clipped(len(updates))]
        factors = (bound / norms).nan_to_num(nan=1.0).clamp(max=1)  # 0 / 0, inf / inf
        return scaled(updates, cohort, torch.where(norms.isfinite(), factors, 0.0))


def _due(view: MixView) -> Mixed:
    """The rows that the noted factors give, which are worked out again from all lengths."""
    facts, count = (view.samples, view.steps, view.normalizers), len(view.rows)
    if view.mixing is None:
        return Mixed(np.eye(count), *facts, "it does not say by how much it clips")
    told = view.mixing.diagonal()
    norms = np.array([view.distance(row, None) for row in range(count)])
    f = view.link.num_byzantine
    f = (count - 1) // 2 if f is None else f
    k = int(np.floor(2 * (f / count) * (count - f) + 1e-9))
    bound = np.sort(norms)[::-1][k]
    due = np.where(norms > bound, bound / np.maximum(norms, 1e-300), 1.0)
    due[np.isinf(norms)] = 0.0
    problem = None
    wrong = np.abs(told - due) > _SHARE * np.maximum(due, told)
    if wrong.any():
        row = int(wrong.argmax())
        problem = (
            f"it clips row {row} of length {norms[row]:.4g} by {told[row]:.4g}, where k={k} and "
            f"the length {bound:.4g} ask for {due[row]:.4g}"
        )
    return Mixed(np.diag(told), *facts, problem)
