"""CAF: the covariance-bound agnostic filter, which weighs down what spreads the updates most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.choice_definitions import misread_distance, noted
from fedcore.strategies.definitions import Definition, Expected, Floats, View, linear
from fedcore.strategies.distances import least_scores, squared_distances
from fedcore.strategies.robust.minority import Minority, finite_rows, mean_of
from fedcore.strategies.strategy import STRATEGIES, combine_some, weighing

_NONE = 1e-12  # a weight that is rounding


@STRATEGIES.register("caf", "covariance-bound agnostic filter (Allouah et al. 2025)")
class CAF(Minority):
    """The weighted mean mu_c = sum_i c_i u_i / sum_i c_i whose covariance is the least.

    Weights start at c_i = 1. While sum_i c_i > K - 2 f: the largest eigenvalue of the weighted
    covariance sum_i c_i (u_i - mu_c)(u_i - mu_c)^T / sum_i c_i is noted with mu_c, tau_i is the
    squared projection of u_i - mu_c on its eigenvector, and c_i becomes c_i (1 - tau_i / max tau).
    The mu_c of the least eigenvalue is the step. f = 0 is the mean.
    Eigenvectors come from the K x K products of the updates, which is exact and the same every
    time. (ByzFL makes one power iteration from a random vector, which is neither.) Weights below
    1e-12 are 0, as is that of an update that is not finite. Needs K > 2 f. f is ``num_byzantine``;
    None takes (K - 1) // 2.
    Noted as ``Noted.passes``: the rows of the squared distances.
    Source: Allouah, Guerraoui, Stephan, "Towards Trustworthy Federated Learning with Untrusted
    Participants", ICML 2025, algorithm 2; after Diakonikolas et al., "Being Robust (in High
    Dimensions) Can Be Practical", 2017.
    """

    definition = Definition("the weighted mean of least covariance", lambda view: _filtered(view))
    may_ignore_clients = True

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size, finite = len(updates), finite_rows(updates)
        least = 2 * self.kept(size) - size  # K - 2 f
        if len(finite) <= least:
            return mean_of(updates, finite, memory)
        # differences from a row that has near neighbours, so that no huge one costs digits
        first = least_scores(updates, max(1, len(finite) // 2), 1)[0]
        own = torch.tensor(finite, device=updates.device)
        distances = squared_distances(updates, own, updates[first])[:, own].cpu().numpy()
        distances = (distances + distances.T) / 2
        shares = filtered(distances, finite.index(first), least)
        rows = [row for row, share in zip(finite, shares, strict=True) if share > 0]
        weights = shares[shares > 0].tolist()
        told = np.full((size, size), np.inf)
        told[np.ix_(finite, finite)] = distances
        told[finite, finite] = 0.0
        passes = tuple(map(tuple, told.tolist()))
        Memory.of(memory).noted = Noted(weighing(size, rows, weights), passes)
        return combine_some(updates, rows, torch.tensor(weights, dtype=torch.float64))


def filtered(distances: Floats, origin: int, least: float) -> Floats:
    """The shares c_i / sum c of the filter, [n], from squared ``distances`` [n, n] of rows.

    ``origin`` is the row that products are taken from; weights are filtered while their sum
    exceeds ``least``.
    """
    distances = np.minimum(distances, 1e300)
    products = (distances[:, origin, None] + distances[None, origin] - distances) / 2
    products = products / max(float(np.abs(products).max()), np.finfo(np.float64).tiny)
    weights: Floats = np.ones(len(products))
    best: Floats = weights / weights.sum()
    spread = np.inf
    while weights.sum() > least:
        shares = weights / weights.sum()
        means = products @ shares
        centred = products - means[:, None] - means[None, :] + shares @ means
        roots = np.sqrt(shares)
        values, vectors = np.linalg.eigh(roots[:, None] * centred * roots[None, :])
        if values[-1] < spread:
            best, spread = shares, float(values[-1])
        scores = (centred @ (roots * vectors[:, -1])) ** 2
        scores[weights == 0] = 0
        if not scores.max() > 0:
            break
        weights = weights * (1 - scores / scores.max())
        weights[weights < _NONE] = 0
    return best


def _filtered(view: View) -> Expected:
    """The step by the noted weights, which are worked out again from the noted distances.

    Of these, those of one row are measured to a few others, of few parameters all.
    """
    shares, silent = noted(view, "how it weighs the clients")
    if silent is not None:
        return silent
    assert view.noted is not None
    expected = linear(view, shares)
    if abs(shares.sum() - 1) > 1e-9 or shares.min() < 0:
        return replace(expected, problem=f"its weights add up to {shares.sum():.6g}, not 1")
    size, f = len(view.rows), view.strategy.num_byzantine
    most = (size - 1) // 2
    least = size - 2 * (most if f is None else min(f, most))
    told = np.asarray(view.noted.passes)
    finite = shares > 0 if told.shape != (size, size) else told.diagonal() == 0
    if any(np.isfinite(view.distance(int(row), False)) for row in np.flatnonzero(~finite)):
        return replace(expected, problem="it leaves out a finite update before it filters")
    if finite.sum() <= least:
        even = np.ptp(shares[finite]) < 1e-9
        return expected if even else replace(expected, problem="it does not weigh clients alike")
    if told.shape != (size, size):
        return replace(expected, problem="it does not say how far its updates are apart")
    if (problem := misread_distance(view, told)) is not None:
        return replace(expected, problem=problem)
    due, certain = _weights(told[finite][:, finite], least)
    if certain and np.abs(due - shares[finite]).max() > 1e-6:
        return replace(expected, problem="its weights are not those of the filter")
    return expected


def _weights(gaps: Floats, least: float) -> tuple[Floats, bool]:
    """The shares by squared distances ``gaps``, and whether no near tie leaves them in doubt."""
    gaps = np.minimum(gaps, 1e300)
    near = np.sort(gaps, axis=1)[:, : len(gaps) // 2 + 1].sum(axis=1)
    from_origin = gaps[int(near.argmin())]
    gram = (from_origin[:, None] + from_origin - gaps) / 2
    weights: Floats = np.ones(len(gaps))
    seen: list[tuple[float, Floats]] = [(np.inf, weights / weights.sum())]
    certain = bool(gaps.max() < 1e300)
    while weights.sum() > least:
        used = weights > 0
        shares, local = weights / weights.sum(), gram[used][:, used]
        own = shares[used]
        centring = np.eye(len(own)) - own
        centred, root = centring @ local @ centring.T, np.sqrt(own)
        values, vectors = np.linalg.eigh(root[:, None] * centred * root)
        if values[-1] <= 1e-12 * np.abs(local).max(initial=0.0):
            return shares, False  # those that are left are equal but for rounding
        seen.append((float(values[-1]), shares))
        certain &= len(values) == 1 or values[-2] < (1 - 1e-4) * values[-1]
        scores = np.zeros(len(weights))
        scores[used] = (centred @ (root * vectors[:, -1])) ** 2
        weights = weights * (1 - scores / scores.max())
        weights = np.where(weights < 1e-12, 0.0, weights)
        certain &= abs(weights.sum() - least) > 1e-6
    spreads = sorted(spread for spread, _ in seen)
    certain &= len(seen) == 1 or spreads[0] < (1 - 1e-6) * spreads[1]
    best: Floats = min(seen, key=lambda pair: pair[0])[1]
    return best, bool(certain)
