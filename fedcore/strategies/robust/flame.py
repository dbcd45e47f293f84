"""FLAME: the majority of one direction, clipped to the median length, and a little noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory, Noted
from fedcore.strategies.definitions import Definition, Expected, Floats, View, linear
from fedcore.strategies.distances import cosines, lengths
from fedcore.strategies.robust.weakdp import gaussian_noise
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine_some, counted, weighing

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_SHARE = 1e-6  # error that a noted distance may have, and a length as a share of it


@STRATEGIES.register("flame", "majority by HDBSCAN, clipped, and noise (Nguyen et al. 2022)")
class Flame(Strategy):
    """x+ = x + 1/L sum_{i admitted} u_i min(1, S / ||u_i||) + N(0, (lambda S)^2), L the admitted.

    Admitted is the one cluster that HDBSCAN finds in the distances 1 - cos(u_i, u_j) with
    min_cluster_size = floor(K / 2) + 1; S is the median length of all finite updates, admitted or
    not (of an even number the mean of the middle two); lambda is ``noise_factor``. The noise has
    standard deviation lambda S in every parameter, so that its length is about lambda S sqrt(P); it
    is of the run's seed and the round, as weak DP's. It is no promise of privacy. Means are
    unweighted. As the cluster is the first group of a majority to come together, hardly more than
    half of a cohort is admitted where nobody attacks, too.

    Conventions: distances are of updates (the paper's algorithm 1 writes local models, whose
    cosines all are near 1); min_samples is 1 and a single cluster is allowed, as in public code.
    An update that is not finite is never admitted and counts in K; where no majority is left the
    global model is kept. A cosine with an update of 0 is 0. lambda is 0.001, the paper's for
    images; 0 adds no noise. Noted as ``Noted.passes``: the rows of the distances, then the lengths.
    Source: Nguyen et al., "FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022,
    algorithm 1; HDBSCAN of scikit-learn.
    """

    definition = Definition(
        "the clipped updates of the majority's cluster and the round's noise",
        lambda view: _due(view),
    )
    buffer_rule = "median"
    may_ignore_clients = True
    noise_factor: float = param(
        "lambda: standard deviation of the noise over the median length",
        default=0.001,
        low=0,
        token="lambda",
    )

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size, kept = len(updates), Memory.of(memory)
        norms = lengths(updates, torch.zeros_like(updates[0])).cpu()
        finite = norms.isfinite().nonzero().flatten().tolist()
        gaps = np.full((size, size), np.inf)
        gaps[np.ix_(finite, finite)] = 1 - cosines([updates[row] for row in finite]).numpy()
        np.fill_diagonal(gaps, 0.0)
        chosen = [finite[i] for i in majority(gaps[np.ix_(finite, finite)], size // 2 + 1)]
        told = (*map(tuple, gaps.tolist()), tuple(norms.tolist()))
        median = float(np.median(norms[finite].numpy())) if chosen else 0.0
        if median == 0:  # of nobody, or of updates of which half are 0
            kept.noted = Noted((0.0,) * size, told)
            return torch.zeros_like(updates[0])
        shares = (median / norms[chosen]).clamp(max=1) / len(chosen)
        kept.noted = Noted(weighing(size, chosen, shares.tolist()), told)
        step = combine_some(updates, chosen, shares)
        sigma = self.noise_factor * median
        return step.add_(gaussian_noise(kept, len(step)).to(step), alpha=sigma) if sigma else step

    def withstands(self, rows: int) -> int | None:
        return (rows - 1) // 2

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.rows >= 3:
            return []
        return [
            f"strategy 'flame' looks for a majority of 3 updates or more, got {counted(scenario)}: "
            "raise fraction_train or num_clients"
        ]


def majority(gaps: Floats, least: int) -> list[int]:
    """The members of the cluster of at least ``least``, of pairwise ``gaps`` [n, n]; or nobody."""
    if len(gaps) < max(2, least):  # HDBSCAN takes one row for no cluster
        return list(range(len(gaps))) if len(gaps) == least else []
    # here, as nobody else needs it and it takes a second to import
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(
        min_cluster_size=least,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,
    )
    found: list[int] = np.flatnonzero(model.fit(np.maximum(gaps, 0.0)).labels_ == 0).tolist()
    return found


def _due(view: View) -> Expected:
    """The clipped mean by the noted coefficients, and the noise drawn again.

    Who is admitted is worked out again from the noted distances by single linkage; of these and of
    the lengths those of one client are measured, of few parameters all.
    """
    size, noted = len(view.rows), view.noted
    if noted is None or len(noted.passes) != size + 1 or len(noted.coefficients) != size:
        return Expected(view.made, np.zeros_like(view.made), {}, "it does not say whom it admits")
    coefficients = np.asarray(noted.coefficients)
    gaps, norms = np.asarray(noted.passes[:-1]), np.asarray(noted.passes[-1])
    admitted, finite = coefficients > 0, np.isfinite(norms)
    surely, perhaps = first_majority(gaps, finite, size // 2 + 1)
    problem = _mismeasured(view, gaps, norms)
    median = float(np.median(norms[finite])) if finite.any() else 0.0
    if median == 0:
        surely = perhaps = np.zeros_like(finite)
    if problem is None and (surely & ~admitted).any():
        problem = f"it leaves out row {int((surely & ~admitted).argmax())} of the majority"
    elif problem is None and perhaps.any() and admitted.sum() < size // 2 + 1:
        problem = f"it admits {admitted.sum()} of {size} rows, which is no majority"
    elif problem is None and (admitted & ~perhaps).any():
        problem = f"it admits row {int((admitted & ~perhaps).argmax())} from outside the majority"
    shortened = np.where(norms > median, median / np.maximum(norms, 1e-300), 1.0)
    due = shortened / max(1, int(admitted.sum()))
    if problem is None and (np.abs(coefficients - due)[admitted] > _SHARE).any():
        row = int(np.where(admitted, np.abs(coefficients - due), 0).argmax())
        problem = (
            f"it weighs row {row} of length {norms[row]:.4g} by {coefficients[row]:.6g}, where the "
            f"median length {median:.4g} asks for {due[row]:.6g}"
        )
    expected, noise = linear(view, coefficients), np.zeros_like(view.made)
    sigma = view.strategy.noise_factor * median
    if sigma and admitted.any():
        noise = sigma * _noise(view)
    error = expected.error + view.unit * (np.abs(expected.step) + np.abs(noise))
    return Expected(expected.step + noise, error, {}, problem)


def _mismeasured(view: View, gaps: Floats, norms: Floats) -> str | None:
    """Where the distances and lengths of a row, of all if they are short, are not as noted."""
    size = len(view.rows)
    for row in range(size) if view.whole else [view.drawn]:
        own = view.distance(row, False)
        if own != norms[row] and not abs(own - norms[row]) <= _SHARE * own:
            return f"it takes row {row} of length {own:.6g} for one of {norms[row]:.6g}"
        others = range(size) if view.whole else ((row + step) % size for step in range(1, 6))
        for other in others:
            far = norms[row] * norms[other]
            if other == row or not np.isfinite(far):
                continue
            due = 1 - (view.product(row, other) / far if far > 0 else 0.0)
            if abs(gaps[row, other] - due) > _SHARE:
                return (
                    f"it takes rows {row} and {other} of distance {due:.6g} for ones of "
                    f"{gaps[row, other]:.6g}"
                )
    return None


def first_majority(
    gaps: Floats, finite: npt.NDArray[np.bool_], least: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Who is, and who may be, in the first group of ``least`` that single linkage joins, [n] each.

    The two differ where rounding decides which of two gaps is the smaller one.
    """
    nobody = np.zeros(len(gaps), dtype=np.bool_)
    members = np.flatnonzero(finite)
    if len(members) < max(2, least):
        return (finite, finite) if len(members) == least else (nobody, nobody)
    # Prim: (gap, from, to) of each edge of the minimal spanning tree
    near, source = gaps[members[0]].copy(), np.full(len(gaps), members[0])
    out, edges = finite.copy(), []
    out[members[0]] = False
    while out.any():
        chosen = int(np.where(out, near, np.inf).argmin())
        edges.append((float(near[chosen]), int(source[chosen]), chosen))
        out[chosen] = False
        closer = gaps[chosen] < near
        near[closer], source[closer] = gaps[chosen][closer], chosen

    def group(most: float) -> npt.NDArray[np.bool_]:
        """The largest group that edges of at most ``most`` join."""
        label = np.arange(len(gaps))
        for gap, one, other in edges:
            if gap <= most:
                label[label == label[other]] = label[one]
        names, counts = np.unique(label[members], return_counts=True)
        result: npt.NDArray[np.bool_] = (label == names[counts.argmax()]) & finite
        return result

    due = next(gap for gap in sorted(gap for gap, _, _ in edges) if group(gap).sum() >= least)
    exactly, perhaps = group(due), group(due + 1e-9 * (1 + due))
    # where other edges are as long but for rounding, the order in which they join is nobody's
    ties = sum(abs(gap - due) <= 1e-9 * (1 + due) for gap, _, _ in edges) > 1
    return (nobody if ties else exactly), perhaps


def _noise(view: View) -> Floats:
    """The round's standard normal numbers at the places of ``view``: of blocks of 8192, float32."""
    noise = np.zeros(len(view.places))
    blocks = view.places // 8192
    for block in np.unique(blocks):
        end = min(8192 * (block + 1), view.size)
        drawn = view.chance(int(block)).standard_normal(end - 8192 * block, np.float32)
        noise[blocks == block] = drawn[view.places[blocks == block] - 8192 * block]
    return noise
