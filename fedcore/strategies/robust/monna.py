"""MoNNA's rule: nearest-neighbour averaging around a pivot that the server trusts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.strategies.choice_definitions import (
    beyond,
    mean_of_chosen,
    misplaced,
    worst_and_best,
)
from fedcore.strategies.definitions import Definition, Expected, Floats, View
from fedcore.strategies.distances import lengths
from fedcore.strategies.order_statistics import middle_mean
from fedcore.strategies.robust.minority import Minority, mean_of
from fedcore.strategies.strategy import STRATEGIES

_NEAR = 1e-6  # relative error of a distance


@STRATEGIES.register("monna", "mean of those nearest a pivot (Farhadkhani et al. 2023)")
class MoNNA(Minority):
    """The unweighted mean of the K - f updates nearest a pivot; f = 0 is the mean.

    In the paper each node averages what is nearest its own vector. A server has none, so that
    ``pivot`` says what stands for it: "last" is its last step (zero in the first round, where the
    rule is CGE), "median" the coordinate-wise median of the round, and "first" the update of the
    client of lowest number in the round, whoever that is. ByzFL's default is the first vector,
    which it presumes to be correct. An update that is not finite is left out; where it is the
    pivot, the median is.
    Its nodes send momenta; here clients send updates, unless the optimizer makes momenta of them.
    Needs K > 2 f; what the paper proves is of a smaller share. f is ``num_byzantine``; None takes
    (K - 1) // 2. Ties go to the client of lowest number. Noted as ``Noted.passes``: the distances.
    Source: Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, "Robust Collaborative Learning
    with Linear Gradient Overhead", ICML 2023, nearest-neighbour averaging.
    """

    definition = Definition("the mean of those nearest the pivot", lambda view: _nearest(view))
    may_ignore_clients = True
    pivot: Literal["last", "median", "first"] = param(
        "what updates must be near: the last step, the median, or the first client's",
        default="last",
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        distances = lengths(updates, self._pivot(updates, memory))
        order = torch.argsort(distances, stable=True)[: self.kept(len(updates))]
        chosen, kept = sorted(order[distances[order].isfinite()].tolist()), Memory.of(memory)
        step = mean_of(updates, chosen, kept)
        if kept.noted is not None:
            kept.noted = replace(kept.noted, passes=(tuple(distances.tolist()),))
        if self.pivot == "last":
            memory["centre"] = step.clone()  # which the identity check measures lengths from
        return step

    def _pivot(self, updates: torch.Tensor, memory: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.pivot == "last":
            return memory["centre"] if "centre" in memory else torch.zeros_like(updates[0])
        if self.pivot == "first" and bool(updates[0].isfinite().all()):
            return updates[0]
        return middle_mean(updates, (len(updates) - 1) // 2)


def _nearest(view: View) -> Expected:
    size, f = len(view.rows), view.strategy.num_byzantine
    most = (size - 1) // 2
    expected, chosen = mean_of_chosen(view, size - (most if f is None else min(f, most)))
    last = view.strategy.pivot == "last"
    memory = {"centre": (expected.step, expected.error)} if last else {}
    expected = replace(expected, memory=memory)
    point, by_median = _pivot_of(view)
    pair = worst_and_best(view, chosen, point)
    if expected.problem is not None or pair is None:
        return expected
    if last:
        far, near = (view.distance(client, False) for client in pair)
    elif not by_median:
        far, near = (view.apart(0, client) for client in pair)
    else:  # the median of all coordinates is not cheap to know: distances are held to those seen
        assert view.noted is not None
        told = np.asarray(view.noted.passes[0] if view.noted.passes else [], dtype=np.float64)
        if len(told) != size:
            text = "it does not say how far its updates are from the median"
            return replace(expected, problem=text)
        seen = np.sqrt(((view.rows - point) ** 2).sum(axis=1))
        slack = view.unit * float(np.linalg.norm(point))  # the step's median is of their type
        low = told * (1 - _NEAR) - slack if view.whole else np.zeros(size)
        if ((seen > told * (1 + _NEAR) + slack) | (seen < low)).any():
            return replace(expected, problem="its distances from the median are others")
        far, near = (1.0, 0.0) if misplaced(told, chosen) else (0.0, 1.0)
    if beyond(far, near):
        text = "it leaves out an update that is nearer the pivot than one that it keeps"
        return replace(expected, problem=text)
    return expected


def _pivot_of(view: View) -> tuple[Floats, bool]:
    """The pivot [s], and whether it is the median of the round."""
    if view.strategy.pivot == "last":
        return view.memory.get("centre", np.zeros_like(view.made)), False
    if view.strategy.pivot == "first" and np.isfinite(view.distance(0, False)):
        return view.rows[0], False
    return np.median(np.where(np.isnan(view.rows), np.inf, view.rows), axis=0), True
