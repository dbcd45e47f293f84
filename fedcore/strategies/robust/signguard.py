"""SignGuard: clients whose lengths and signs are like those of most."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.choice_definitions import beyond, noted, worst_and_best
from fedcore.strategies.definitions import Definition, Expected, Flags, Floats, View, linear
from fedcore.strategies.distances import lengths
from fedcore.strategies.robust.minority import mean_of
from fedcore.strategies.robust.normclipping import clip_factors
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine_some, counted, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# Of mean shift: a move at which it rests, as a share of the bandwidth, and the most iterations; and
# by how much distances that are equal may differ: shares of signs often are.
_SETTLED, _ROUNDS, _TIE = 1e-3, 300, 1e-9


@STRATEGIES.register("signguard", "lengths and signs like most (Xu et al. 2022)")
class SignGuard(Strategy):
    """The mean of the trusted updates, clipped to the median length M: u_i min(1, M / ||u_i||).

    Trusted is who passes two filters. Lengths: ``least_length`` <= ||u_i|| / M <=
    ``greatest_length``. Signs: the shares of positive, zero and negative numbers among a draw of
    ``sampled_share`` of the coordinates, the same for all clients, are clustered by mean shift
    (flat kernel; the bandwidth is the mean distance to the floor(K / 2)-th nearest, oneself
    included, or to the second where K < 4), and the largest cluster is taken, of equal ones the
    densest. Where nobody passes both, the second alone decides. M is the median of K lengths, the
    mean of the middle two where K is even. An update that is not finite is left out before. Nothing
    says how many malicious clients there are; fewer than half is assumed.
    The plain variant of the paper: without the similarity to the last step (SignGuard-Sim, -Dist).
    The authors' code draws one slice of neighbouring coordinates instead of single ones, divides
    each kind of share by its greatest, and trusts nobody that lies between two clusters.
    Noted as ``Noted.passes``: the lengths, then the shares of positive, zero and negative numbers.
    Source: Xu, Huang, Song, Lan, "Byzantine-robust Federated Learning through Collaborative
    Malicious Gradient Filtering", ICDCS 2022, algorithm 2.
    """

    definition = Definition("the clipped mean of the trusted updates", lambda view: _guarded(view))
    buffer_rule = "median"
    may_ignore_clients = True
    least_length: float = param(
        "least length of a trusted update, over the median", default=0.1, low=0, high=1, token="low"
    )
    greatest_length: float = param(
        "greatest length of a trusted update, over the median", default=3.0, low=1, token="high"
    )
    sampled_share: float = param(
        "share of the coordinates whose signs are counted",
        default=0.1,
        low=0,
        high=1,
        open_low=True,
        token="share",
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size = len(updates)
        norms = lengths(updates, torch.zeros_like(updates[0])).cpu()
        finite = norms.isfinite().nonzero().flatten().tolist()
        if not finite:
            return mean_of(updates, [], memory)
        known = norms[finite].numpy()
        median = float(np.median(known))
        ratio = (self.least_length * median <= known) & (known <= self.greatest_length * median)
        chosen = self.drawn(Memory.of(memory), updates.shape[1])
        signs = sign_shares(updates[:, torch.from_numpy(chosen).to(updates.device)])
        alike = largest_cluster(signs[finite])
        trusted = alike & ratio if (alike & ratio).any() else alike
        rows = [row for row, good in zip(finite, trusted, strict=True) if good]
        shares = clip_factors(norms[rows], median).nan_to_num(nan=1.0) / len(rows)  # 0 / 0
        told = (tuple(norms.tolist()), *map(tuple, signs.T.tolist()))
        Memory.of(memory).noted = Noted(weighing(size, rows, shares.tolist()), told)
        return combine_some(updates, rows, shares)

    def drawn(self, memory: Memory, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The coordinates of this round whose signs are counted, of ``size``, ascending."""
        count = max(1, int(self.sampled_share * size))
        places = memory.chance().choice(size, count, replace=False, shuffle=False)
        return np.sort(places)

    def withstands(self, rows: int) -> int | None:
        return (rows - 1) // 2

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.rows >= 3:
            return []
        return [
            f"strategy 'signguard' of fewer than 3 clients withstands nobody, got a cohort of "
            f"{counted(scenario)}: raise fraction_train or num_clients"
        ]


def sign_shares(rows: torch.Tensor) -> Floats:
    """The shares of positive, zero and negative numbers of ``rows`` [K, b], [K, 3]."""
    positive, negative = (rows > 0).sum(dim=1), (rows < 0).sum(dim=1)
    counts = torch.stack([positive, rows.shape[1] - positive - negative, negative], dim=1)
    shares: Floats = (counts.double() / rows.shape[1]).cpu().numpy()
    return shares


def largest_cluster(points: Floats) -> Flags:
    """Which of ``points`` [n, d] are in the largest cluster that mean shift finds, [n].

    Each point moves to the mean of those within the bandwidth until it rests; where two rest
    within a bandwidth, the one with more points around it stays. Points belong to the nearest.
    """
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = max(2, len(points) // 2)
    width = float(np.sort(gaps, axis=1)[:, min(near, len(points)) - 1].mean()) + _TIE
    centres, around = points.copy(), np.ones(len(points), dtype=np.int64)
    moving = np.ones(len(points), dtype=np.bool_)
    for _ in range(_ROUNDS):
        inside = np.linalg.norm(centres[moving, None] - points[None], axis=2) <= width
        around[moving] = inside.sum(axis=1)
        after = inside @ points / around[moving, None]
        moved = np.linalg.norm(after - centres[moving], axis=1) > _SETTLED * width
        centres[moving] = after
        moving[moving] = moved
        if not moving.any():
            break
    kept: list[int] = []
    for place in np.lexsort((*centres.round(12).T[::-1], around))[::-1]:
        if all(np.linalg.norm(centres[place] - centres[other]) > width for other in kept):
            kept.append(int(place))
    labels = np.linalg.norm(points[:, None] - centres[kept][None], axis=2).argmin(axis=1)
    largest: Flags = labels == np.bincount(labels).argmax()
    return largest


def _guarded(view: View) -> Expected:
    shares, silent = noted(view, "whom it trusts")
    if silent is not None:
        return silent
    expected, trusted = linear(view, shares), shares > 0
    factors = shares * max(1, trusted.sum())
    if factors.max() > 1 + 1e-9 or factors.min() < 0 or not trusted.any():
        return replace(expected, problem="its weights are not those of a mean of clipped updates")
    clipped = trusted & (factors < 1 - 1e-6)
    if clipped.any():  # all of these are clipped to one length, and the others are no longer
        low = int(np.where(clipped, factors, np.inf).argmin())
        high = int(np.where(clipped, factors, -np.inf).argmax())
        reached = [factors[client] * view.distance(client, False) for client in {low, high}]
        if max(reached) > (1 + 1e-6) * min(reached):
            return replace(expected, problem="it clips its updates to different lengths")
        pair = worst_and_best(view, trusted & ~clipped, np.zeros_like(view.made))
        if pair is not None and beyond(view.distance(pair[0], False), max(reached)):
            return replace(expected, problem="it leaves a long update unclipped")
    told = np.asarray(view.noted.passes) if view.noted is not None else np.empty(0)
    if told.shape != (4, len(shares)):
        problem: str | None = "it does not say of what lengths and signs its updates are"
    else:
        wrong = _mismeasured(view, told) if view.thorough else None
        problem = wrong or _misjudged(view, told, trusted, factors)
    return expected if problem is None else replace(expected, problem=problem)


def _mismeasured(view: View, told: Floats) -> str | None:
    """Where the length or signs of one update, of few parameters of any, are not as noted."""
    count = max(1, int(view.strategy.sampled_share * view.size))
    places = np.sort(view.chance().choice(view.size, count, replace=False, shuffle=False))
    for row in range(len(view.rows)) if view.whole else [view.drawn]:
        length = view.distance(row, False)
        if length != told[0, row] and not abs(length - told[0, row]) <= 1e-6 * length:
            return f"it takes row {row} of length {length:.6g} for one of {told[0, row]:.6g}"
        signs = np.sign(view.at(row, places))
        due = [float((signs == value).mean()) for value in (1, 0, -1)]
        if np.isfinite(length) and np.abs(told[1:, row] - due).max() > 1e-9:
            return f"it miscounts the signs of row {row}"
    return None


def _misjudged(view: View, told: Floats, trusted: Flags, factors: Floats) -> str | None:
    """What is wrong with the choice and the clipping by the noted lengths and signs."""
    finite, strategy = np.isfinite(told[0]), view.strategy
    norms, points = told[0, finite], told[1:, finite].T
    median = float(np.median(norms)) if finite.any() else 0.0
    if median == 0:
        return None
    due = np.minimum(1.0, median / np.maximum(norms, 1e-300))[trusted[finite]]
    if np.abs(due - factors[finite & trusted]).max(initial=0.0) > 1e-6:
        return "it does not clip its updates to the median length"
    ratio = norms / median
    if (
        np.isclose(ratio, strategy.least_length).any()
        or np.isclose(ratio, strategy.greatest_length).any()
    ):
        return None
    if not view.thorough:  # clusters take as long as the step
        return None
    largest = _largest(points)
    both = largest & (ratio >= strategy.least_length) & (ratio <= strategy.greatest_length)
    if ((both if both.any() else largest) != trusted[finite]).any():
        return "it trusts others than those whose lengths and signs are like most"
    return None


def _largest(points: Floats) -> Flags:
    """Which of ``points`` are in mean shift's largest cluster, point by point."""
    order = [sorted(float(np.linalg.norm(one - other)) for other in points) for one in points]
    place = min(max(2, len(points) // 2), len(points)) - 1
    width = sum(distances[place] for distances in order) / len(order) + 1e-9
    modes = []
    for point in points:
        for _ in range(300):
            inside = [other for other in points if np.linalg.norm(other - point) <= width]
            before, point = point, sum(inside) / len(inside)
            if np.linalg.norm(point - before) <= 1e-3 * width:
                break
        modes.append((len(inside), tuple(np.round(point, 12)), point))
    kept: list[Floats] = []
    for _, _, mode in sorted(modes, key=lambda found: found[:2], reverse=True):
        if all(np.linalg.norm(mode - other) > width for other in kept):
            kept.append(mode)
    nearest = [int(np.argmin([np.linalg.norm(p - mode) for mode in kept])) for p in points]
    sizes = [nearest.count(label) for label in range(len(kept))]
    return np.array([label == sizes.index(max(sizes)) for label in nearest])
