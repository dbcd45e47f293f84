"""Looks: several judgements of one claim as seeds come in, at one error over all of them.

A claim that is judged at 5, 10, 20, 40 and 80 seeds, each time at 5 %, calls a true zero an effect
in 18 % of the cases. An error spending function (Lan and DeMets 1983, "Discrete sequential
boundaries for clinical trials") says how much of the error may be spent up to a share of the seeds;
from that each look has a level of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

#: Numbers of seeds at which a claim is judged.
LOOKS = (5, 10, 20, 40, 80)
#: Probability with which an interval may miss its true value at any of the looks.
ERROR = 0.05

Spending = Callable[[float, float], float]

_POINTS = 129  # of the Gauss-Legendre rule between two boundaries


def pocock(share: float, error: float = ERROR) -> float:
    """The error spent up to ``share`` of the seeds: error * log(1 + (e - 1) share).

    Nearly even over looks (Lan and DeMets 1983, alpha_2*), so that a large effect is seen early.
    """
    return error * math.log(1 + (math.e - 1) * share)


def obrien_fleming(share: float, error: float = ERROR) -> float:
    """The same with almost nothing early: 4 - 4 Phi(z / sqrt(share)), z at error / 4 (alpha_1*).

    On either side half of the error. At 20 of 80 seeds it has spent 1e-5: no look before the fourth
    could decide anything here.
    """
    return 4 * float(ndtr(float(ndtri(error / 4)) / math.sqrt(share))) if share > 0 else 0.0


def due(seeds: int) -> tuple[int, ...]:
    """The looks that a session with ``seeds`` seeds has: those of at most so many."""
    return tuple(look for look in LOOKS if look <= seeds)


def level(look: int, error: float = ERROR, spending: Spending = pocock) -> float:
    """The two-sided level of the interval at ``look``, one of `LOOKS`. ValueError for another."""
    if look not in LOOKS:
        raise ValueError(f"a look is at one of {', '.join(map(str, LOOKS))} seeds, got {look}")
    return levels(LOOKS, error, spending)[LOOKS.index(look)]


@cache
def levels(
    seeds: Sequence[int], error: float = ERROR, spending: Spending = pocock
) -> tuple[float, ...]:
    """The two-sided level at each of the looks after ``seeds``, which rise; the last is all.

    With normal means of known variance, |Z| exceeds the quantile of its level for the first time at
    look j with probability spending(share_j) - spending(share_j-1); the sum is ``error``. By
    recursive integration of the density of what has not been decided yet (Armitage, McPherson and
    Rowe 1969). Student's t quantile of the same level serves for an estimated variance ("significance
    level approach", Pocock 1977; Jennison and Turnbull 2000, section 4.4). ValueError for looks that
    do not rise.
    """  # noqa: E501
    if not seeds or any(a >= b for a, b in zip((0, *seeds), seeds, strict=False)):
        raise ValueError(f"looks must be at rising numbers of seeds, got {seeds}")
    shares = [n / seeds[-1] for n in seeds]
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    found: list[float] = []
    # of the Brownian motion B(share), where it has stayed within all boundaries so far
    places, density, before = np.zeros(1), np.ones(1), 0.0
    for share in shares:
        spent = spending(share, error) - (spending(before, error) if before else 0.0)
        if spent <= 0:
            raise ValueError(f"the spending function must rise, spends {spent:g} at {share:g}")
        step = math.sqrt(share - before)
        root = math.sqrt(share)

        def excess(
            critical: float,
            places: np.ndarray = places,
            density: np.ndarray = density,
            step: float = step,
            root: float = root,
            spent: float = spent,
        ) -> float:
            edge = critical * root
            beyond = ndtr((places - edge) / step) + ndtr((-places - edge) / step)
            return float(density @ beyond) - spent

        critical = float(brentq(excess, 0.0, 40.0, xtol=1e-10))
        edge = critical * root
        new = edge * nodes
        kernel = np.exp(-0.5 * ((new[:, None] - places) / step) ** 2)
        kernel /= step * math.sqrt(2 * math.pi)
        density = edge * weights * (kernel @ density)
        places, before = new, share
        found.append(2 * float(ndtr(-critical)))
    return tuple(found)
