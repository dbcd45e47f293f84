"""MDA: minimum-diameter averaging, the mean of the subset whose members are nearest each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.exchange.cohort import Cohort, Memory
from fedcore.strategies.choice_definitions import mean_of_chosen, misread_distance
from fedcore.strategies.definitions import Definition, Expected, Flags, Floats, View
from fedcore.strategies.distances import least_scores, squared_distances
from fedcore.strategies.robust.minority import Minority, finite_rows, mean_of
from fedcore.strategies.strategy import STRATEGIES

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

#: Subsets that are looked at, at most: half a second a round.
MOST_SUBSETS: Final = 250_000


@STRATEGIES.register("mda", "minimum-diameter averaging (El Mhamdi et al. 2021)")
class MDA(Minority):
    """The unweighted mean of the K - f updates whose greatest mutual distance is least.

    Of several subsets of one diameter, which two far updates often decide alone, the one with the
    least sum of squared distances is taken, then the first in order. (The paper takes any; ByzFL
    the first.) f = 0 is the mean. All C(K, f) subsets are looked at, at most 250,000. Needs
    K > 2 f. f is ``num_byzantine``; None takes the largest that both rules admit. An update that
    is not finite is left out, and fewer than K - f are averaged where more than f are not.
    Noted as ``Noted.passes``: the rows of the squared distances.
    Source: El Mhamdi, Farhadkhani, Guerraoui, Guirguis, Hoang, Rouault, "Collaborative Learning in
    the Jungle", NeurIPS 2021, minimum-diameter averaging, after Rousseeuw, 1985.
    """

    definition = Definition("the mean of a subset of least diameter", lambda view: _nearest(view))
    may_ignore_clients = True

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        finite, keep = finite_rows(updates), self.kept(len(updates))
        if len(finite) <= keep:
            return mean_of(updates, finite, memory)
        # differences from a row that has near neighbours, so that no huge one costs digits
        centre = updates[least_scores(updates, max(1, keep - 2), 1)[0]]
        own = torch.tensor(finite, device=updates.device)
        distances = squared_distances(updates, own, centre)[:, own].cpu().numpy()
        distances = (distances + distances.T) / 2
        chosen = [finite[place] for place in least_diameter(distances, keep)]
        kept = Memory.of(memory)
        step = mean_of(updates, chosen, kept)
        told = np.full((len(updates), len(updates)), np.inf)
        told[np.ix_(finite, finite)] = distances
        assert kept.noted is not None
        kept.noted = replace(kept.noted, passes=tuple(map(tuple, told.tolist())))
        return step

    def tolerated(self, clients: int) -> int:
        """F as given, else the largest with ``clients`` > 2 f and at most 250,000 subsets."""
        f = super().tolerated(clients)
        while self.num_byzantine is None and f > 1 and comb(clients, f) > MOST_SUBSETS:
            f -= 1
        return f

    def problems(self, scenario: Scenario) -> list[str]:
        size, f = scenario.rows, self.tolerated(scenario.rows)
        found = super().problems(scenario)
        if not found and comb(size, f) > MOST_SUBSETS:
            found.append(
                f"strategy 'mda' looks at C(K, f) <= {MOST_SUBSETS} subsets of its cohort, got "
                f"C({size}, {f}) = {comb(size, f):.3g}: lower num_byzantine, or reduce the cohort "
                "(fraction_train * num_clients)"
            )
        return found


def least_diameter(distances: Floats, count: int) -> list[int]:
    """The ``count`` points of least diameter by squared ``distances`` [n, n], ascending.

    Subsets that hold the furthest pair go first, then those with the next, until all would.
    """
    distances = np.minimum(distances, 1e300)  # 0 times infinity is no number
    alive = _subsets(len(distances), count)
    upper = np.triu_indices(len(distances), 1)
    values = distances[upper]
    for value in np.unique(values)[::-1]:
        pairs = np.flatnonzero(values == value)
        holds = np.zeros(alive.shape[1], dtype=np.bool_)
        for pair in pairs:
            holds |= alive[upper[0][pair]] & alive[upper[1][pair]]
        if holds.all():
            break
        alive = alive[:, ~holds]
    members = alive.T.astype(np.float64)
    sums = np.einsum("sn,sn->s", members @ distances, members)
    return [int(point) for point in np.flatnonzero(alive[:, sums.argmin()])]


@lru_cache(maxsize=2)
def _subsets(size: int, count: int) -> npt.NDArray[np.bool_]:
    """Whether each of ``size`` points is in each subset of ``count`` ones, [size, subsets]."""
    left = size - count
    out = itertools.chain.from_iterable(itertools.combinations(range(size), left))
    places = np.fromiter(out, dtype=np.int64).reshape(-1, left)
    members = np.ones((size, comb(size, left)), dtype=np.bool_)
    members[places.T, np.arange(members.shape[1])] = False
    members.flags.writeable = False
    return members


def _nearest(view: View) -> Expected:
    size, f = len(view.rows), view.strategy.num_byzantine
    most = (size - 1) // 2
    if f is None:
        f = most
        while f > 1 and comb(size, f) > 250_000:
            f -= 1
    expected, chosen = mean_of_chosen(view, size - min(f, most))
    if expected.problem is not None or chosen.sum() == size:
        return expected
    assert view.noted is not None
    told = np.asarray(view.noted.passes)
    if told.shape != (size, size):  # of few finite rows all are averaged
        left = np.flatnonzero(~chosen)
        silent = any(np.isfinite(view.distance(int(row), False)) for row in left)
        text = "it does not say how far its updates are apart"
        return replace(expected, problem=text) if silent else expected
    problem = misread_distance(view, told) or _further(np.sqrt(told), chosen)
    return expected if problem is None else replace(expected, problem=problem)


def _further(gaps: Floats, chosen: Flags) -> str | None:
    """Where another subset is nearer by the distances ``gaps`` [K, K], as a message.

    Of few subsets all are looked at, else those that differ in one member: to look at all again
    would cost as much as the step.
    """
    rest = np.flatnonzero(np.isfinite(gaps).any(axis=1))
    kept = tuple(np.flatnonzero(chosen).tolist())
    subsets: Iterable[tuple[int, ...]] = itertools.combinations(rest.tolist(), len(kept))
    if comb(len(rest), len(kept)) > 1000:
        outside = sorted(set(rest.tolist()) - set(kept))
        swapped = itertools.product(range(len(kept)), outside)
        subsets = ((*kept[:place], other, *kept[place + 1 :]) for place, other in swapped)
    spread = {subset: float(gaps[np.ix_(subset, subset)].max()) for subset in (kept, *subsets)}
    least = min(spread.values())
    if spread[kept] > least * (1 + 1e-6):
        return f"its subset has diameter {spread[kept]:.4g}, another one {least:.4g}"
    sums = {
        subset: float((gaps[np.ix_(subset, subset)] ** 2).sum())
        for subset, diameter in spread.items()
        if diameter <= least * (1 + 1e-12)
    }
    if kept in sums and sums[kept] > min(sums.values()) * (1 + 1e-6):
        return "another subset of its diameter has nearer members"
    return None
