"""The sampled Gaussian mechanism under replacement: the account of DP-SGD.

A step takes each sample with probability q, clips its gradient to C and adds N(0, (z C)^2 I) to
the sum. Neighbours differ in the value of one sample, whose gradient is g or g'. In units of C,
with what the others contribute moved to 0 (a mixture of which no divergence grows), a step draws
from P = (1 - q) N(0, z^2 I) + q N(g, z^2 I) or from Q, the same with g'.

No pair is easier to tell apart than g = 1, g' = -1 in one direction. For l >= 1 the hockey-stick
divergence is the integral of [q N(g) - l q N(g') - (l - 1) (1 - q) N(0)]_+. Its region A is
convex, with outward normals a (g' - g) - b g, where a, b >= 0. By the envelope theorem a turn of
g' along a tangent t (t . g' = 0) away from g changes it by l q times the integral over the
boundary of A of (a + b) (-g . t) >= 0: it grows until g' is opposite to g. Then A is a
half-space, and it grows with the lengths of both. So this pair has the largest divergence for
every l, hence the largest Renyi divergences, which add up over steps, whatever these depend on
(Mironov, "Renyi Differential Privacy", CSF 2017, proposition 1).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fedcore.privacy.gaussian import epsilon_of

Array = np.ndarray[tuple[int], np.dtype[np.float64]]

#: How the numbers of this module are named in a statement.
ACCOUNTANT = (
    "Renyi DP of the Poisson-sampled Gaussian under replacement, conversion of Balle et al. 2020; "
    "exact Gaussian where every step takes all samples"
)
_ORDERS: Array = np.array([*(1 + x / 20 for x in range(1, 200)), *range(11, 64), 80, 96, 128, 256])

_LITTLE = 0.2
"""Multipliers below it promise nothing that sampling would mend, and take ever finer grids."""


def replace_epsilon(rate: float, multiplier: float, steps: int, delta: float) -> float:
    """The epsilon of ``steps`` steps, for neighbours that differ in one sample's value.

    ``rate`` is q in (0, 1], ``multiplier`` z > 0, ``steps`` >= 1. Exact at q = 1, Gaussians of
    sensitivity 2 C; else an upper bound, at most that of q = 1, from Renyi DP by theorem 21 of
    Balle et al., "Hypothesis Testing Interpretations and Renyi Differential Privacy", AISTATS 2020.

    >>> round(replace_epsilon(1.0, 2.0, 1, 1e-5), 3)
    4.377
    """
    # sampling loses nothing: the divergences of a step grow with q
    gaussian = epsilon_of(2 * math.sqrt(steps) / multiplier, delta)
    if rate == 1 or multiplier < _LITTLE:
        return gaussian
    spent = steps * renyi(rate, multiplier)
    orders = _ORDERS
    epsilons = spent - (math.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    return min(max(float(epsilons.min()), 0.0), gaussian)


@lru_cache(maxsize=4096)
def renyi(rate: float, multiplier: float) -> Array:
    """D_a(P||Q) of one step at each of the orders a of the account, see the module.

    By the trapezoidal rule, whose error for such integrands falls exponentially with the number
    of points: equal to adaptive quadrature to 12 digits.
    """
    z2 = multiplier * multiplier
    step = min(multiplier / 8, z2 / 4)
    divergences = np.empty(len(_ORDERS))
    for place, order in enumerate(_ORDERS):
        # the integrand is largest between 0 and 2 a - 1, where it would be at q = 1
        points = np.arange(-1 - 14 * multiplier, 2 * order + 14 * multiplier, step)
        centre = math.log1p(-rate) - points**2 / (2 * z2)
        upper, lower = (
            np.logaddexp(centre, math.log(rate) - (points - side) ** 2 / (2 * z2))
            for side in (1, -1)
        )
        exponent = order * upper + (1 - order) * lower
        top = exponent.max()
        total = float(np.exp(exponent - top).sum()) * step / math.sqrt(2 * math.pi * z2)
        divergences[place] = max(top + math.log(total), 0.0) / (order - 1)
    return divergences
