"""The Gaussian mechanism: exact privacy curve, calibration, composition.

``mu`` is sensitivity / sigma. A release is mu-GDP (Dong, Roth, Su, "Gaussian Differential Privacy",
JRSS B 2022), and releases with mu_1 ... mu_T are together exactly sqrt(sum mu_t^2)-GDP (corollary
3.3 there): nothing is lost in composition. delta(epsilon) is theorem 8 of Balle and Wang,
"Improving the Gaussian Mechanism for Differential Privacy", ICML 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: How the numbers of this module are named in a statement.
ACCOUNTANT = "exact Gaussian (Balle & Wang 2018; Dong, Roth & Su 2022)"


def log_delta(epsilon: float, mu: float) -> float:
    """Ln of the smallest delta for which a mu-GDP Gaussian release is (epsilon, delta)-DP.

    delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu), for mu > 0, epsilon >= 0.
    In logarithms: neither e^epsilon nor a tail under- or overflows. -inf where delta is 0.
    """
    # here, as it takes 0.2 s, and what is not private never calls this
    from scipy.special import log_ndtr

    upper = float(log_ndtr(mu / 2 - epsilon / mu))
    lower = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return upper + math.log(-math.expm1(lower - upper)) if lower < upper else -math.inf


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest epsilon >= 0 for which a mu-GDP release is (epsilon, delta)-DP.

    0 for mu = 0. ValueError for mu < 0 or delta outside (0, 1).

    >>> round(epsilon_of(1 / 3.7306, 1e-5), 3)
    1.0
    """
    _check_delta(delta)
    if not 0 <= mu < math.inf:
        raise ValueError(f"mu = sensitivity / sigma must be finite and >= 0, got {mu!r}")
    target = math.log(delta)
    if mu == 0 or log_delta(0.0, mu) <= target:
        return 0.0
    high = 1.0
    while log_delta(high, mu) > target:
        high *= 2
    return _boundary(lambda epsilon: log_delta(epsilon, mu) > target, 0.0, high)


def noise_multiplier(epsilon: float, delta: float) -> float:
    """The smallest sigma / sensitivity that makes one release (epsilon, delta)-DP.

    Balle & Wang's analytic calibration: exact for every epsilon > 0.
    ValueError for epsilon <= 0 or delta outside (0, 1).

    >>> round(noise_multiplier(8.0, 1e-5), 3)
    0.6
    """
    _check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be finite and > 0, got {epsilon!r}")
    target = math.log(delta)
    low = high = 1.0
    while log_delta(epsilon, 1 / high) > target:
        high *= 2
    while log_delta(epsilon, 1 / low) <= target:
        low /= 2
    return _boundary(lambda z: log_delta(epsilon, 1 / z) > target, low, high)


def classical_multiplier(epsilon: float, delta: float) -> float:
    """sqrt(2 ln(1.25 / delta)) / epsilon: the textbook sigma / sensitivity.

    Proven for epsilon < 1 only (Dwork & Roth 2014, theorem A.1); at epsilon 10, delta 1e-5 it is
    too small. Here to say what `localdpmod` really promises.
    """
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta!r}")


def _boundary(above: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``above`` turns from true to false in [low, high], from the side where it is false.

    Rounding then adds to epsilon or to the noise, never takes away.
    """
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        if above(middle):
            low = middle
        else:
            high = middle
