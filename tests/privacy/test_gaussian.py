"""The Gaussian mechanism against published and hand-derived numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from fedcore.privacy.gaussian import (
    classical_multiplier,
    epsilon_of,
    log_delta,
    noise_multiplier,
)

DELTA = 1e-5


@pytest.mark.parametrize(
    ("epsilon", "classical", "analytic"),
    [(1, 4.845, 3.731), (4, 1.211, 1.081), (8, 0.606, 0.600), (10, 0.485, 0.500)],
)
def test_sigma_over_sensitivity_at_delta_1e5(epsilon, classical, analytic) -> None:
    # 0.48448 at epsilon 10: the third digit of the table is of 0.4845, rounded up
    assert classical_multiplier(epsilon, DELTA) == pytest.approx(classical, abs=6e-4)
    assert noise_multiplier(epsilon, DELTA) == pytest.approx(analytic, abs=5e-4)


@pytest.mark.parametrize(("nominal", "true"), [(1, 1.61), (8, 18.9)])
def test_replacing_data_doubles_the_sensitivity_of_a_sigma_made_for_one_clip(nominal, true) -> None:
    mu = 2 / classical_multiplier(nominal, DELTA)
    assert epsilon_of(mu, DELTA) == pytest.approx(true, rel=2e-3)


@pytest.mark.parametrize(("releases", "total"), [(10, 2.69), (20, 3.99), (100, 10.39)])
def test_composition_of_the_classical_sigma_for_epsilon_1(releases, total) -> None:
    mu = math.sqrt(releases) / classical_multiplier(1, DELTA)
    assert epsilon_of(mu, DELTA) == pytest.approx(total, abs=5e-3)


@pytest.mark.parametrize(("releases", "total"), [(10, 3.619), (20, 5.407), (100, 14.429)])
def test_composition_of_the_exact_sigma_for_epsilon_1(releases, total) -> None:
    mu = math.sqrt(releases) / noise_multiplier(1, DELTA)
    assert epsilon_of(mu, DELTA) == pytest.approx(total, abs=5e-4)


def test_delta_is_the_textbook_formula_where_that_can_be_computed() -> None:
    for epsilon, mu in ((0.5, 0.3), (1.0, 1.0), (3.0, 2.0)):
        a, b = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
        plain = norm.cdf(a) - math.exp(epsilon) * norm.cdf(b)
        assert math.exp(log_delta(epsilon, mu)) == pytest.approx(plain, rel=1e-9)


def test_epsilon_0_is_the_total_variation_distance() -> None:
    """For epsilon 0, delta = 2 Phi(mu/2) - 1; a larger delta needs no epsilon."""
    mu = 0.2
    distance = 2 * norm.cdf(mu / 2) - 1
    assert math.exp(log_delta(0.0, mu)) == pytest.approx(distance, rel=1e-12)
    assert epsilon_of(mu, distance * 1.01) == 0.0
    assert epsilon_of(mu, distance * 0.99) > 0.0
    assert epsilon_of(0.0, DELTA) == 0.0


@given(st.floats(1e-3, 1e5), st.floats(1e-12, 0.4))
def test_calibration_inverts_epsilon_from_the_safe_side(epsilon, delta) -> None:
    z = noise_multiplier(epsilon, delta)
    found = epsilon_of(1 / z, delta)
    assert found == pytest.approx(epsilon, rel=1e-6, abs=1e-9)
    assert log_delta(epsilon, 1 / z) <= math.log(delta)
    assert log_delta(epsilon, 1 / (z * (1 - 1e-6))) > math.log(delta)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5), st.floats(1e-9, 0.1))
def test_releases_together_are_never_cheaper_than_one_of_them(mus, delta) -> None:
    total = math.hypot(*mus)
    assert epsilon_of(total, delta) >= max(epsilon_of(mu, delta) for mu in mus) * (1 - 1e-9)


@pytest.mark.parametrize("epsilon", [0, -1, math.inf, math.nan])
def test_an_epsilon_that_is_none(epsilon) -> None:
    with pytest.raises(ValueError, match="epsilon must be finite and > 0, got"):
        noise_multiplier(epsilon, DELTA)


@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.25, math.nan])
def test_a_delta_that_is_none(delta) -> None:
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got"):
        noise_multiplier(1.0, delta)
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got"):
        epsilon_of(1.0, delta)


@pytest.mark.parametrize("mu", [-1, math.inf, math.nan])
def test_a_mu_that_is_none(mu) -> None:
    with pytest.raises(ValueError, match="must be finite and >= 0, got"):
        epsilon_of(mu, DELTA)
