"""The sampled Gaussian under replacement: against quadrature, closed forms, other accountants."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.privacy.gaussian import epsilon_of
from fedcore.privacy.sampled import _ORDERS, renyi, replace_epsilon

DELTA = 1e-5
TWO = int(np.flatnonzero(np.isclose(_ORDERS, 2.0))[0])


def logs(points, means, rate, z):
    """ln of (1 - rate) N(0, z^2) + rate N(mean, z^2) at ``points``, for each mean."""
    return [
        np.logaddexp(
            math.log1p(-rate) - points**2 / (2 * z * z)
            if rate < 1
            else np.full_like(points, -np.inf),
            math.log(rate) - (points - mean) ** 2 / (2 * z * z),
        )
        - math.log(z * math.sqrt(2 * math.pi))
        for mean in means
    ]


def exact_epsilon(rate: float, z: float, steps: int, width: float = 4e-4) -> float:
    """Of the pair g = 1, g' = -1: the distribution of the privacy loss, convolved by FFT."""
    points = np.linspace(-(10 * z + 2), 10 * z + 2, 1_000_001)
    upper, lower = logs(points, (1, -1), rate, z)
    loss = upper - lower
    size = 1 << math.ceil(math.log2(60 / width))
    mass = np.bincount(
        np.rint(loss / width).astype(int) % size, weights=np.exp(upper), minlength=size
    )
    total = np.fft.irfft(np.fft.rfft(mass / mass.sum()) ** steps, size)
    places = np.arange(size)
    places = np.where(places > size // 2, places - size, places) * width

    def above(epsilon: float) -> bool:
        tail = places > epsilon
        return float((total[tail] * -np.expm1(epsilon - places[tail])).sum()) > DELTA

    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return high


@pytest.mark.parametrize(("z", "steps"), [(2.0, 1), (4.0, 9), (1.0, 2)])
def test_all_samples_in_every_step_are_gaussians_of_twice_the_sensitivity(z, steps) -> None:
    mu = 2 * math.sqrt(steps) / z
    assert replace_epsilon(1.0, z, steps, DELTA) == epsilon_of(mu, DELTA)
    assert exact_epsilon(1.0, z, steps) == pytest.approx(epsilon_of(mu, DELTA), rel=2e-3)
    pld = pytest.importorskip("dp_accounting.pld.pld_privacy_accountant")
    dp = pytest.importorskip("dp_accounting")
    # PLD doubles the sensitivity under this relation: the sigma per clip norm goes in
    accountant = pld.PLDAccountant(dp.NeighboringRelation.REPLACE_ONE, 1e-3)
    theirs = accountant.compose(dp.GaussianDpEvent(z), steps).get_epsilon(DELTA)
    assert replace_epsilon(1.0, z, steps, DELTA) == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize(
    ("rate", "z", "steps"), [(0.5, 2.0, 10), (0.1, 1.0, 10), (0.3, 1.5, 9), (0.05, 4.0, 400)]
)
def test_the_account_is_an_upper_bound_within_a_fifth(rate, z, steps) -> None:
    exact = exact_epsilon(rate, z, steps)
    assert exact <= replace_epsilon(rate, z, steps, DELTA) < 1.2 * exact


@pytest.mark.parametrize(("rate", "z"), [(0.1, 1.0), (0.5, 2.0), (0.3, 0.6), (0.02, 5.0)])
def test_renyi_divergences_are_those_of_adaptive_quadrature(rate, z) -> None:
    from scipy.integrate import quad

    for place in (0, TWO, TWO + 31, 150):
        order = float(_ORDERS[place])

        def integrand(x: float, order: float = order) -> float:
            upper, lower = logs(np.array([x]), (1, -1), rate, z)
            return float(np.exp(order * upper + (1 - order) * lower)[0])

        edges = np.linspace(-12 * z, 2 * order + 12 * z, 40)
        total = sum(quad(integrand, a, b, epsabs=0)[0] for a, b in itertools.pairwise(edges))
        assert renyi(rate, z)[place] == pytest.approx(math.log(total) / (order - 1), rel=1e-7)


def test_it_lies_between_add_remove_and_its_group_bound() -> None:
    """More than Opacus's add-remove; at most removal then addition (Mironov 2017, prop. 11)."""
    compute = pytest.importorskip("opacus.accountants.analysis.rdp").compute_rdp
    for rate, z in ((0.01, 0.8), (0.1, 1.0), (0.4, 2.0)):
        one, double, less = (
            np.array(compute(q=rate, noise_multiplier=z, steps=1, orders=list(orders)))
            for orders in (_ORDERS, 2 * _ORDERS, 2 * _ORDERS - 1)
        )
        ours = renyi(rate, z)
        assert bool((ours > one).all())
        assert bool((ours <= ((_ORDERS - 0.5) / (_ORDERS - 1) * double + less) * 1.000001).all())


def test_few_samples_taken_cost_four_times_the_renyi_divergence() -> None:
    """Hand: for q -> 0, D_2 -> q^2 chi^2 of N(1) - N(-1) against N(0): 4 q^2 sinh(1 / z^2)."""
    rate, z = 1e-4, 3.0
    chi2 = 2 * (math.exp(1 / z**2) - math.exp(-1 / z**2))  # 4 sinh(1 / z^2)
    assert renyi(rate, z)[TWO] == pytest.approx(rate**2 * chi2, rel=1e-3)


@given(
    rate=st.floats(0.01, 0.99), z=st.floats(0.3, 8.0), long=st.floats(0.0, 1.0),
    other=st.floats(0.0, 1.0), angle=st.floats(0.0, math.pi), lam=st.floats(1.0, 20.0),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_no_pair_of_gradients_is_easier_to_tell_apart(rate, z, long, other, angle, lam) -> None:
    """The module's theorem in two dimensions, hockey-stick divergences on a grid."""

    def divergence(g: tuple[float, float], h: tuple[float, float]) -> float:
        axis = np.linspace(-8 * z - 1, 8 * z + 1, 241)
        x, y = np.meshgrid(axis, axis)

        def bell(a: float, b: float):
            return np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * z * z)) / (2 * math.pi * z * z)

        rest = (1 - rate) * bell(0, 0)
        gap = rest + rate * bell(*g) - lam * (rest + rate * bell(*h))
        return float(np.maximum(gap, 0).sum()) * (axis[1] - axis[0]) ** 2

    pair = divergence((long, 0), (other * math.cos(angle), other * math.sin(angle)))
    assert pair <= divergence((1, 0), (-1, 0)) + 2e-4


def test_the_account_grows_with_steps_and_falls_with_noise() -> None:
    assert replace_epsilon(0.2, 1.0, 5, DELTA) < replace_epsilon(0.2, 1.0, 6, DELTA)
    assert replace_epsilon(0.2, 1.0, 5, DELTA) > replace_epsilon(0.2, 1.1, 5, DELTA)
    assert replace_epsilon(0.2, 1.0, 5, DELTA) < replace_epsilon(0.3, 1.0, 5, DELTA)
    assert replace_epsilon(1e-6, 50.0, 1, DELTA) < 0.1


@pytest.mark.parametrize("z", [1e-3, 0.1, 0.21, 0.5, 2.0])
def test_sampling_never_costs_more_than_all_samples(z) -> None:
    for rate in (1e-3, 0.5, 0.999):
        assert replace_epsilon(rate, z, 3, DELTA) <= replace_epsilon(1.0, z, 3, DELTA)
