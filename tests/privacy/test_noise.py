"""Noise: the seeded source repeats, the secure one never does, both are standard normal."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from fedcore.privacy.noise import SecureNoise, SeededNoise


def test_seeded_noise_has_a_stream_per_seed_round_and_client() -> None:
    source = SeededNoise(3)
    one = source.normal(5, round=1, client=2)
    assert torch.equal(one, SeededNoise(3).normal(5, round=1, client=2))
    others = [
        SeededNoise(4).normal(5, round=1, client=2),
        source.normal(5, round=2, client=2),
        source.normal(5, round=1, client=3),
        source.normal(5, round=2, client=1),
    ]
    assert not any(torch.equal(one, other) for other in others)


def test_global_generators_are_left_alone_and_do_not_matter() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = SeededNoise(0).normal(4, round=1, client=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(one, SeededNoise(0).normal(4, round=1, client=0))


def test_secure_noise_never_repeats() -> None:
    source = SecureNoise()
    assert not torch.equal(source.normal(5, round=1, client=1), source.normal(5, round=1, client=1))


@pytest.mark.parametrize("source", [SeededNoise(0), SecureNoise()], ids=["seeded", "secure"])
@pytest.mark.parametrize("size", [20_001])
def test_it_is_standard_normal(source, size) -> None:
    drawn = source.normal(size, round=0, client=0)
    assert (drawn.shape, drawn.dtype) == ((size,), torch.float64)
    # fails once in 10^9 times for the secure source
    assert kstest(drawn.numpy(), "norm").pvalue > 1e-9
    assert source.normal(1, round=0, client=0).shape == (1,)
    assert source.normal(0, round=0, client=0).shape == (0,)


def test_the_statement_tells_which_is_secret() -> None:
    assert "not secret" in SeededNoise.description
    assert "not secret" not in SecureNoise.description
