"""DnC: divide and conquer, a spectral filter on sampled coordinates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.strategies.choice_definitions import mean_of_chosen
from fedcore.strategies.definitions import Definition, Expected, Flags, Floats, View
from fedcore.strategies.robust.minority import Minority, finite_rows, mean_of
from fedcore.strategies.strategy import STRATEGIES, counted

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_MOST = 1 << 22  # numbers that the identity check looks at in a round


@STRATEGIES.register("dnc", "spectral filter, divide and conquer (Shejwalkar, Houmansadr 2021)")
class DnC(Minority):
    """The unweighted mean of the updates that no pass of a spectral filter removes.

    A pass draws ``sampled_coordinates`` of the P (all, where there are no more), subtracts the
    mean of the K rows, and scores each by its squared projection on the top right singular vector.
    It removes the floor(c f) highest scores, c = ``filter_fraction``; ties go to the client of
    lowest number. There are ``aggregation_iterations`` passes; those that all keep are averaged
    or, where nobody is kept by all, those that most keep. f = 0 is the mean.
    Needs K > 2 f and floor(c f) < K. f is ``num_byzantine``; None takes (K - 1) // 2. An update
    that is not finite is removed before the first pass, as one of the floor(c f). One huge update
    can hide another from a pass: that is the rule's.
    Source: Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS 2021, algorithm 2.
    """

    definition = Definition("the mean of what a spectral filter keeps", lambda view: _kept(view))
    may_ignore_clients = True
    filter_fraction: float = param(
        "c: updates removed a pass, as a multiple of f",
        default=1.0,
        low=0,
        open_low=True,
        token="c",
    )
    sampled_coordinates: int = param(
        "coordinates drawn for a pass", default=10_000, low=1, token="dims"
    )
    aggregation_iterations: int = param("passes a round", default=1, low=1, token="iter")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        finite = finite_rows(updates)
        keep = len(updates) - self.removed(len(updates))
        if len(finite) <= keep:
            return mean_of(updates, finite, memory)
        size, dims = updates.shape[1], self.sampled_coordinates
        generator = Memory.of(memory).chance()
        votes = np.zeros(len(finite), dtype=np.int64)
        for _ in range(self.aggregation_iterations if size > dims else 1):
            part = updates
            if size > dims:
                drawn = np.sort(generator.choice(size, dims, replace=False, shuffle=False))
                part = updates[:, torch.from_numpy(drawn).to(updates.device)]
            order = np.argsort(outlyingness(part[finite]), kind="stable")
            votes[order[:keep]] += 1
        chosen = np.flatnonzero(votes == votes.max())
        return mean_of(updates, [finite[place] for place in chosen], memory)

    def removed(self, clients: int) -> int:
        """floor(c f), less than ``clients``."""
        f = clients - self.kept(clients)
        return min(clients - 1, int(self.filter_fraction * f + 1e-9))

    def problems(self, scenario: Scenario) -> list[str]:
        found, f = super().problems(scenario), self.tolerated(scenario.rows)
        cut = int(self.filter_fraction * f + 1e-9)
        if not found and cut >= scenario.rows:
            found.append(
                f"strategy 'dnc' needs a cohort > floor(c f), got {counted(scenario)} <= "
                f"floor({self.filter_fraction:g} * {f}) = {cut}: lower filter_fraction"
            )
        return found


def outlyingness(rows: torch.Tensor) -> Floats:
    """Squared projections [K] of ``rows`` [K, b] minus their mean on the top singular vector.

    The vector comes from the K x K products, which is exact and the same every time, where power
    iterations would start from a random vector.
    """
    wide = rows.to(torch.float64)
    wide = wide / wide.abs().max().clamp(min=torch.finfo(torch.float64).tiny)  # squares stay finite
    centred = wide - wide.mean(dim=0)
    products = (centred @ centred.T).cpu().numpy()
    projections: Floats = (products @ np.linalg.eigh(products)[1][:, -1]) ** 2
    return projections


def _kept(view: View) -> Expected:
    strategy, size = view.strategy, len(view.rows)
    most = (size - 1) // 2
    f = most if strategy.num_byzantine is None else min(strategy.num_byzantine, most)
    cut, passes = int(strategy.filter_fraction * f + 1e-9), strategy.aggregation_iterations
    if view.size <= strategy.sampled_coordinates:
        passes = 1
    count = 0 if view.noted is None else int((np.asarray(view.noted.coefficients) != 0).sum())
    due = size - min(cut, size - 1)
    if passes > 1 and (0 < size - passes * cut <= count < due or passes * cut >= size):
        due = count  # passes keep others, and where they may keep nobody in common, any number
    expected, chosen = mean_of_chosen(view, due)
    looked_at = size * min(view.size, strategy.sampled_coordinates) * passes
    cut = min(cut, size - 1)
    if expected.problem is not None or not cut or looked_at > _MOST or not view.thorough:
        return expected
    finite = np.ones(size, dtype=np.bool_)
    wrong = _kept_otherwise(view, finite, passes, cut, chosen)
    if wrong:  # somebody may not be finite, which takes long to see
        finite = np.array([np.isfinite(view.distance(row, False)) for row in range(size)])
        wrong = _kept_otherwise(view, finite, passes, cut, chosen)
    if wrong:
        return replace(expected, problem="it keeps others than the spectral filter does")
    return expected


def _kept_otherwise(view: View, finite: Flags, passes: int, cut: int, chosen: Flags) -> bool:
    """Whether the filter keeps others than ``chosen`` of the ``finite`` rows, beyond doubt."""
    dims, members = view.strategy.sampled_coordinates, np.flatnonzero(finite)
    keep = len(finite) - cut
    if len(members) <= keep:
        return bool((chosen != finite).any())
    generator, votes = view.chance(), np.zeros(len(members))
    for _ in range(passes):
        places = np.arange(view.size)
        if view.size > dims:
            places = np.sort(generator.choice(view.size, dims, replace=False, shuffle=False))
        part = np.stack([view.at(int(row), places) for row in members])
        if not np.isfinite(part).all():
            return True
        gaps = part - part.mean(axis=0)
        gaps = gaps / max(float(np.abs(gaps).max()), 1e-300)
        gram = gaps @ gaps.T
        values, vectors = np.linalg.eigh(gram)
        scores = (gram @ vectors[:, -1]) ** 2
        order = np.argsort(scores, kind="stable")
        edge = scores[order[keep - 1 : keep + 1]]
        if values[-2] > (1 - 2e-6) * values[-1] or edge[1] - edge[0] <= 1e-9 * scores.max():
            return False
        votes[order[:keep]] += 1
    return bool(((votes == votes.max()) != chosen[members]).any() or chosen[~finite].any())
