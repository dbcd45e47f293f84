"""CGE: comparative gradient elimination, the mean without the longest updates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.choice_definitions import beyond, mean_of_chosen, worst_and_best
from fedcore.strategies.definitions import Definition, Expected, View
from fedcore.strategies.distances import lengths
from fedcore.strategies.robust.minority import Minority, mean_of
from fedcore.strategies.strategy import STRATEGIES


@STRATEGIES.register("cge", "the mean without the f longest (Gupta and Vaidya 2020)")
class CGE(Minority):
    """The unweighted mean of the K - f updates of least Euclidean length; f = 0 is the mean.

    The paper adds these K - f up, as its step size takes the factor in; here they are averaged.
    Needs K > 2 f. f is ``num_byzantine``; None takes (K - 1) // 2. Ties go to the client of lowest
    number. Lengths are those of float64. An update that is not finite is left out, and fewer than
    K - f are averaged where more than f are not. No kept update is longer than the longest benign
    one, in whatever direction it points.
    Source: Gupta, Vaidya, "Fault-Tolerance in Distributed Optimization: The Case of Redundancy",
    PODC 2020, comparative gradient elimination.
    """

    definition = Definition("the mean of the shortest updates", lambda view: _shortest(view))
    may_ignore_clients = True

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        norms = lengths(updates, torch.zeros_like(updates[0]))
        order = torch.argsort(norms, stable=True)[: self.kept(len(updates))]
        chosen = sorted(order[norms[order].isfinite()].tolist())
        return mean_of(updates, chosen, memory)


def _shortest(view: View) -> Expected:
    size, f = len(view.rows), view.strategy.num_byzantine
    most = (size - 1) // 2
    expected, chosen = mean_of_chosen(view, size - (most if f is None else min(f, most)))
    pair = worst_and_best(view, chosen, np.zeros_like(view.made))
    if expected.problem is not None or pair is None:
        return expected
    longest, shortest = (view.distance(client, False) for client in pair)
    if beyond(longest, shortest):
        text = f"it keeps an update of length {longest:.4g} and leaves out one of {shortest:.4g}"
        return replace(expected, problem=text)
    return expected
