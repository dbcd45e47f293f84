"""The audit never exceeds an honest claim, and catches noise that is half of what was claimed."""

from __future__ import annotations

import pytest
import torch

from fedcore.errors import PrivacyError
from fedcore.privacy import mechanism as base
from fedcore.privacy.clipping import clip_rows
from fedcore.privacy.distinguishing import audit, upper_bound
from fedcore.privacy.gaussian import epsilon_of
from fedcore.privacy.noise import SecureNoise, SeededNoise
from fedcore.scenario import Scenario


class HalfNoise(SeededNoise):
    """The planted bug: the account knows nothing of it."""

    def normal(self, size: int, *, round: int, client: int) -> torch.Tensor:
        return super().normal(size, round=round, client=client) / 2


@pytest.mark.parametrize("neighbours", ["replace", "zero-out"])
@pytest.mark.parametrize(("epsilon", "releases"), [(1.0, 1), (8.0, 1), (1.0, 5)])
def test_an_honest_claim_stands_and_the_bound_is_tight(
    linear, neighbours, epsilon, releases
) -> None:
    scenario = Scenario(privacy="localdp", epsilon=epsilon, neighbours=neighbours)
    found = audit(scenario, linear, releases=releases, trials=4000 // releases)
    assert not found.refuted
    assert 0.4 * found.epsilon_claimed < found.epsilon_lower <= found.epsilon_claimed


@pytest.mark.parametrize(("epsilon", "releases"), [(1.0, 1), (8.0, 1), (1.0, 5)])
def test_half_the_noise_is_caught(linear, epsilon, releases) -> None:
    scenario = Scenario(privacy="localdp", epsilon=epsilon)
    found = audit(scenario, linear, releases=releases, trials=4000 // releases, noise=HalfNoise(0))
    assert found.refuted
    assert found.epsilon_lower > 1.3 * found.epsilon_claimed


def test_a_clip_that_does_not_clip_is_caught(linear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "clip_rows", lambda rows, norm: clip_rows(rows, 3 * norm))
    assert audit(Scenario(privacy="localdp", epsilon=1.0), linear).refuted


def test_the_secure_source_passes_too(linear) -> None:
    scenario = Scenario(privacy="localdp", epsilon=1.0)
    assert not audit(scenario, linear, noise=SecureNoise()).refuted


def test_the_epsilon_that_localdpmod_names_is_refuted(linear) -> None:
    found = audit(Scenario(privacy="localdpmod", epsilon=1.0), linear)
    assert found.epsilon_lower > 1.0, "more than it says"
    assert not found.refuted, "not more than the statement says"


def test_bounds_for_rates() -> None:
    """None of n: 1 - (1 - level)^(1/n); all of n: nothing is known."""
    assert upper_bound(0, 10, 0.95) == pytest.approx(1 - 0.05**0.1)
    assert upper_bound(10, 10, 0.95) == 1.0
    assert 0.5 < upper_bound(50, 100, 0.95) < 0.6


def test_what_cannot_be_played_against(linear) -> None:
    with pytest.raises(PrivacyError, match="dpsgd, localdp and localdpmod, got 'clip'"):
        audit(Scenario(privacy="clip"), linear)


def test_noise_that_dpsgd_would_not_draw_from_is_refused(linear) -> None:
    """Its steps draw their own: the bound would be of other noise than was handed in."""
    pytest.importorskip("opacus")
    scenario = Scenario(privacy="dpsgd", noise_multiplier=2.0, norm="none")
    with pytest.raises(PrivacyError, match="dpsgd draws its noise in training"):
        audit(scenario, linear, trials=20, noise=HalfNoise(0))


@pytest.mark.parametrize(("multiplier", "steps"), [(2.0, 1), (4.0, 4)])
def test_dpsgd_under_replacement_stands_and_add_remove_is_refuted(
    linear, multiplier, steps
) -> None:
    """The sensitivity of the sum is 2 C: what add-remove would claim is less than is true."""
    pytest.importorskip("opacus")
    scenario = Scenario(privacy="dpsgd", noise_multiplier=multiplier, norm="none")
    found = audit(scenario, linear, releases=steps, trials=3000 // steps)
    assert found.epsilon_claimed == pytest.approx(epsilon_of(2 * steps**0.5 / multiplier, 1e-5))
    assert not found.refuted
    assert found.epsilon_lower > epsilon_of(steps**0.5 / multiplier, 1e-5)
    assert found.epsilon_lower > 0.6 * found.epsilon_claimed


def test_dpsgd_that_does_not_clip_is_caught(linear, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers = pytest.importorskip("opacus.optimizers")
    init = optimizers.DPOptimizer.__init__

    def loose(self, *args, **kwargs) -> None:
        init(self, *args, **{**kwargs, "max_grad_norm": 3 * kwargs["max_grad_norm"]})
        self.noise_multiplier /= 3

    monkeypatch.setattr(optimizers.DPOptimizer, "__init__", loose)
    scenario = Scenario(privacy="dpsgd", noise_multiplier=4.0, norm="none")
    assert audit(scenario, linear, trials=1500).refuted
