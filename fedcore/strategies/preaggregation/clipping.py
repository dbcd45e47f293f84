"""Static clipping: every update is shortened to a given length before any rule sees it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.distances import lengths
from fedcore.strategies.preaggregation.definitions import MixDefinition, Mixed, MixView
from fedcore.strategies.preaggregation.preaggregation import PREAGGREGATIONS, PreAggregation

_SHARE = 1e-6  # relative error that a factor may have


@PREAGGREGATIONS.register("clipping", "updates shortened to a fixed length")
class Clipping(PreAggregation):
    """y_i = u_i min(1, M / ||u_i||), M = ``norm_bound``; a large M leaves all as they are.

    An update that is not finite becomes 0. In front of FedAvg it is norm clipping.
    Source: Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, "Adaptive Gradient Clipping for
    Robust Federated Learning", ICLR 2025, static clipping.
    """

    definition = MixDefinition("the clipped updates", lambda view: _due(view))
    keeps_clients = True
    norm_bound: float = param(
        "length that an update is clipped to", default=1.0, low=0, open_low=True, token="bound"
    )

    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        norms = lengths(updates, torch.zeros_like(updates[0]))
        return scaled(updates, cohort, (self.norm_bound / norms).clamp(max=1))


def scaled(
    updates: torch.Tensor, cohort: Cohort, factors: torch.Tensor
) -> tuple[torch.Tensor, Cohort]:
    """``updates`` [K, n] times ``factors`` [K], and ``cohort`` with them; 0 where a factor is."""
    rows = updates * factors.to(updates)[:, None]
    rows[factors == 0] = 0.0  # NaN and inf times 0 are NaN
    return rows, dataclasses.replace(cohort, mixing=np.diag(factors.cpu().double().numpy()))


def _due(view: MixView) -> Mixed:
    """The rows that the noted factors give; those of two rows are worked out again."""
    facts = view.samples, view.steps, view.normalizers
    if view.mixing is None:
        return Mixed(np.eye(len(view.rows)), *facts, "it does not say by how much it clips")
    told = view.mixing.diagonal()
    squares = (view.rows**2).sum(axis=1)
    furthest = int(np.where(np.isfinite(squares), squares, -1.0).argmax())
    problem = None
    for row in {furthest, view.drawn}:
        length, bound = view.distance(row, None), view.link.norm_bound
        due = 0.0 if length == np.inf else min(1.0, bound / max(length, 1e-300))
        if abs(told[row] - due) > _SHARE * max(due, told[row]):
            problem = (
                f"it clips row {row} of length {length:.4g} by {told[row]:.4g}, where "
                f"norm_bound={bound:g} asks for {due:.4g}"
            )
    return Mixed(np.diag(told), *facts, problem)
