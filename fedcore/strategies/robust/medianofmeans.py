"""Median of means: the geometric median of the means of groups."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.choice_definitions import noted
from fedcore.strategies.definitions import Definition, Expected, Floats, View, linear
from fedcore.strategies.robust.rfa import RFA
from fedcore.strategies.strategy import STRATEGIES, combine_some, counted
from fedcore.streams import Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_FEW = 4  # clients of a group whose distances the identity check measures


@STRATEGIES.register("medianofmeans", "geometric median of group means (Chen et al. 2017)")
class MedianOfMeans(RFA):
    """The geometric median of the means of ``num_groups`` groups of clients, all unweighted.

    Groups are neighbours in the order of clients, in sizes that differ by one at most, the larger
    ones first; None makes ceil(K / 2) groups, which are pairs. One group is the mean, K groups are
    the geometric median, as RFA's of equal samples. k groups withstand fewer than k / 2 malicious
    clients, as each of these spoils one group at most. An update that is not finite spoils its
    group, which is left out. The median is found as `RFA` finds it. The paper's trimming of long
    group means in front of the median is left out. ("Mean of medians", as a suite calls it, is
    another rule: `MeaMed`.)
    Source: Chen, Su, Xu, "Distributed Statistical Machine Learning in Adversarial Settings",
    POMACS 2017, algorithm 2.
    """

    definition = Definition(
        "the geometric median of the groups' means", lambda view: _grouped(view)
    )
    aggregation_iterations: int = param(  # a huge mean among few groups takes hundreds
        "server iterations a round", default=1000, low=1, token="iter"
    )
    num_groups: int | None = param("k: groups of clients", default=None, low=1, token="groups")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size = len(updates)
        groups = self.groups(size)
        means = updates.new_zeros(len(groups), updates.shape[1])
        for mean, group in zip(means, groups, strict=True):
            shares = torch.full((len(group),), 1 / len(group), dtype=torch.float64)
            combine_some(updates, list(group), shares, out=mean)
        count = len(groups)
        made = replace(
            cohort,
            clients=tuple(range(count)),
            updates=means,
            samples=(1,) * count,
            steps=(1,) * count,
            normalizers=(None,) * count,
        )
        kept = Memory.of(memory)
        step = super().step(means, made, kept)
        if kept.noted is not None and len(kept.noted.coefficients) == count:
            pairs = zip(groups, kept.noted.coefficients, strict=True)
            weights = tuple(share / len(group) for group, share in pairs for _ in group)
            kept.noted = Noted(weights, settled=kept.noted.settled)
        return step

    def groups(self, clients: int) -> list[range]:
        """The rows of each group of ``clients``."""
        count = min(clients, -(-clients // 2) if self.num_groups is None else self.num_groups)
        each, more = divmod(clients, count)
        ends = [each * group + min(group, more) for group in range(count + 1)]
        return [range(start, end) for start, end in itertools.pairwise(ends)]

    def withstands(self, rows: int) -> int | None:
        return (len(self.groups(rows)) - 1) // 2

    def problems(self, scenario: Scenario) -> list[str]:
        size, k = scenario.rows, self.num_groups
        count = -(-size // 2) if k is None else k
        if 3 <= count <= size:
            return []
        return [
            f"strategy 'medianofmeans' needs 3 <= groups <= cohort, got {count} groups of "
            f"{counted(scenario)}: change num_groups, or enlarge the cohort "
            "(fraction_train * num_clients)"
        ]


def _grouped(view: View) -> Expected:
    weights, silent = noted(view, "how it weighs the clients")
    if silent is not None:
        return silent
    size, k = len(view.rows), view.strategy.num_groups
    groups = np.array_split(np.arange(size), min(size, (size + 1) // 2 if k is None else k))
    expected = linear(view, weights)
    shares = np.array([weights[group].sum() for group in groups])
    if abs(shares.sum() - 1) > 1e-9:
        return replace(expected, problem=f"its weights add up to {shares.sum():.6g}, not 1")
    for group in groups:
        if np.ptp(weights[group]) > 1e-12:
            return replace(expected, problem="it does not weigh the clients of a group alike")
    if view.noted is None or not view.noted.settled:
        return expected
    if not view.whole:
        return replace(expected, problem=_pulled_otherwise(view, groups, shares))
    means = np.array([view.rows[group].mean(axis=0) for group in groups])
    distances = np.sqrt(((means - view.made) ** 2).sum(axis=1))
    known = np.isfinite(distances)
    hidden = 1e3 * float(np.linalg.norm(view.rounding))
    if not known.any() or distances[known].min() <= max(1e-2 * distances[known].max(), hidden):
        return expected  # near one of them its weight says little, and less than rounding nothing
    pulls = shares[known] * np.maximum(distances[known], view.strategy.smoothing)
    if np.ptp(pulls) > 0.02 * pulls.max() or shares[~known].any():
        text = "its weights are not in proportion to one over the distance from the step"
        return replace(expected, problem=text)
    return expected


def _pulled_otherwise(view: View, groups: list[Indices], shares: Floats) -> str | None:
    """Where two small groups' weights are no multiples of one over their distances, as a message.

    They are the one that seems furthest and the drawn client's; |mean - s|^2 is the mean of
    |u_i - s|^2 less the sum of |u_i - u_j|^2 over pairs and the squared size.
    """
    means = np.array([view.rows[group].mean(axis=0) for group in groups])
    squares = ((means - view.made) ** 2).sum(axis=1)
    furthest = int(np.where(np.isfinite(squares), squares, -1.0).argmax())
    own = next(place for place, group in enumerate(groups) if view.drawn in group)
    distances = []
    for place in (furthest, own):
        group = groups[place].tolist()
        if len(group) > _FEW:
            return None  # to look at all pairs would cost more than the step
        mean = sum(view.distance(row, True) ** 2 for row in group) / len(group)
        pairs = itertools.combinations(group, 2)
        square = mean - sum(view.apart(*pair) ** 2 for pair in pairs) / len(group) ** 2
        if not np.isfinite(mean) or square <= 1e-6 * mean:
            return None  # of a group that is left out, or less than rounding
        distances.append(max(view.strategy.smoothing, square**0.5))
    pulls = [shares[place] * far for place, far in zip((furthest, own), distances, strict=True)]
    near = min(distances) > 1e-2 * max(distances)
    if near and abs(pulls[0] - pulls[1]) > 0.02 * max(pulls):
        return "its weights are not in proportion to one over the distance from the step"
    return None
