"""Our exact totals against dp-accounting and Opacus: where they agree, and where they do not."""

from __future__ import annotations

import math

import pytest

from fedcore.privacy.gaussian import epsilon_of, noise_multiplier

dp = pytest.importorskip("dp_accounting")
pld = pytest.importorskip("dp_accounting.pld.pld_privacy_accountant")
rdp = pytest.importorskip("dp_accounting.rdp.rdp_privacy_accountant")

DELTA = 1e-5
ADD = dp.NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = dp.NeighboringRelation.REPLACE_ONE


def by_pld(z: float, releases: int, relation=ADD) -> float:
    accountant = pld.PLDAccountant(relation, value_discretization_interval=1e-3)
    return accountant.compose(dp.GaussianDpEvent(z), releases).get_epsilon(DELTA)


def by_rdp(z: float, releases: int, relation=ADD) -> float:
    accountant = rdp.RdpAccountant(neighboring_relation=relation)
    return accountant.compose(dp.GaussianDpEvent(z), releases).get_epsilon(DELTA)


@pytest.mark.parametrize("releases", [1, 10, 20])
def test_pld_agrees_to_three_digits(releases) -> None:
    """Its discretisation makes it pessimistic, by less than 0.1 %."""
    z = noise_multiplier(1.0, DELTA)
    exact = epsilon_of(math.sqrt(releases) / z, DELTA)
    assert exact <= by_pld(z, releases) <= exact * 1.001 + 1e-6


@pytest.mark.parametrize("releases", [1, 10, 100])
def test_rdp_is_an_upper_bound_within_a_fifth(releases) -> None:
    """Renyi DP forgets part of the privacy curve: it may not be less, and is not equal."""
    z = noise_multiplier(1.0, DELTA)
    exact = epsilon_of(math.sqrt(releases) / z, DELTA)
    assert exact < by_rdp(z, releases) < 1.2 * exact


def test_under_replace_pld_doubles_the_sensitivity_and_rdp_does_not_look() -> None:
    """Sigma per clip norm goes to PLD, sigma per true sensitivity 2 C to RDP."""
    z = noise_multiplier(1.0, DELTA)  # of sensitivity 2 C
    per_clip = 2 * z
    assert by_pld(per_clip, 1, REPLACE) == pytest.approx(1.0, rel=2e-3)
    assert by_pld(z, 1, REPLACE) > 2.0, "doubled twice: more than is true"
    assert by_rdp(per_clip, 1, REPLACE) == by_rdp(per_clip, 1, ADD) < 0.6, "less than is true"
    assert by_rdp(z, 1, REPLACE) == pytest.approx(1.0, rel=0.2)


def test_what_pld_says_of_localdpmods_sigma() -> None:
    """Nominal 1 is truly 1.61."""
    sigma = math.sqrt(2 * math.log(1.25 / DELTA))
    assert by_pld(sigma, 1, REPLACE) == pytest.approx(1.61, abs=5e-3)


def test_opacus_and_dp_accounting_agree_on_dpsgd() -> None:
    accountants = pytest.importorskip("opacus.accountants")
    ours = accountants.RDPAccountant()
    ours.history = [(1.0, 0.1, 100)]
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1.0)), 100)
    orders = ours.DEFAULT_ALPHAS
    theirs = rdp.RdpAccountant(orders).compose(event).get_epsilon(DELTA)
    assert ours.get_epsilon(delta=DELTA) == pytest.approx(theirs, rel=1e-3)
