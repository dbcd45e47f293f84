from __future__ import annotations

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.dropout import StreamDropout, adopt_streams


def layer(p: float, seed: int = 0) -> StreamDropout:
    dropout = StreamDropout(p)
    dropout.seed(torch.Generator().manual_seed(seed))
    return dropout


def test_mask_follows_the_formula() -> None:
    x = torch.randn(4, 5, 6)
    mask = torch.empty(4, 5, 6).bernoulli_(0.7, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer(0.3, seed=3)(x), x * mask / 0.7, rtol=1e-6, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_kept_share_and_scale(p: float) -> None:
    n = 40_000
    kept = layer(p)(torch.ones(n))
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs((kept > 0).float().mean() - (1 - p)) < 4 * deviation
    torch.testing.assert_close(kept[kept > 0].unique(), torch.tensor([1 / (1 - p)]))


def test_gradient_passes_where_the_mask_is_open() -> None:
    x = torch.ones(100, requires_grad=True)
    y = layer(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_identity_in_evaluation_and_at_zero() -> None:
    x = torch.randn(10)
    assert StreamDropout(0.5).eval()(x) is x
    assert StreamDropout(0.0)(x) is x
    assert torch.equal(layer(1.0)(x), torch.zeros(10))


def test_masks_depend_on_the_generator_alone() -> None:
    x = torch.ones(2, 3, 8, 8)
    state = torch.random.get_rng_state()
    first = layer(0.5)(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(layer(0.5)(x.contiguous(memory_format=torch.channels_last)), first)
    assert not torch.equal(layer(0.5, seed=1)(x), first)


def test_training_without_a_generator_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"call seed\(\) first"):
        StreamDropout(0.5)(torch.ones(3))


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_probability_outside_the_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        StreamDropout(p)


def test_adopt_replaces_nested_layers_once() -> None:
    network = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.ReLU(), nn.Dropout(0.2).eval()))
    adopted = adopt_streams(network)
    assert [dropout.p for dropout in adopted] == [0.1, 0.2]
    assert [dropout.training for dropout in adopted] == [True, False]
    assert network[0] is adopted[0]
    assert network[1][1] is adopted[1]
    assert adopt_streams(network) == adopted
    assert adopt_streams(nn.Sequential(nn.ReLU())) == []


def test_adopt_refuses_dropout_that_it_cannot_replace() -> None:
    with pytest.raises(ModelError, match="Dropout2d, which draws from torch's global generator"):
        adopt_streams(nn.Sequential(nn.Dropout2d()))
