"""Pooling and ReLU as one compiled operation."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedcore.engine import bfloat16
from fedcore.engine.bfloat16 import Bfloat16Engine
from fedcore.engine.sequential import SequentialEngine
from fedcore.federation.federation import Federation
from fedcore.models.cnn import Cnn
from fedcore.native import compiler as native
from fedcore.native import convolution, pooling
from fedcore.native.convolution import ConvPoolRelu
from fedcore.native.pooling import PoolRelu, fuse_pooling
from fedcore.scenario import Scenario

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="needs a C compiler")


def both(images: torch.Tensor, gradient: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(result, gradient of the input) of ours and of torch's operators."""
    found = []
    for forward in (PoolRelu(), lambda images: F.relu(F.max_pool2d(images, 2))):
        leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
        result = forward(leaf)
        found.append((result.detach(), *torch.autograd.grad(result, leaf, gradient)))
    return found


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal, NaN to NaN. torch's own sign of a rectified -0 depends on the number of values."""
    nan = ours.isnan()
    rest = [tensor.masked_fill(nan, 0) for tensor in (ours, theirs)]
    return torch.equal(nan, theirs.isnan()) and torch.equal(*rest)


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    c=st.sampled_from([1, 3, 15, 16, 17, 32, 40]),
    h=st.integers(2, 9),
    w=st.integers(2, 9),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    levels=st.sampled_from([2, 5, 1000]),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
    seed=st.integers(0, 99),
)
def test_values_are_those_of_torch(n, c, h, w, layout, levels, dtype, seed) -> None:
    """Few levels make ties, of which the first pixel takes the gradient; zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-levels, levels + 1, (n, c, h, w), generator=generator) / levels
    images = images.mul(-1).to(dtype).contiguous(memory_format=layout)  # 0 becomes -0
    gradient = torch.randn((n, c, h // 2, w // 2), generator=generator).to(dtype)
    ours, theirs = both(images, gradient)
    assert same(ours[0], theirs[0])
    assert same(ours[1], theirs[1])


#: Upper bits; what x86 computes for infinity minus infinity has its sign bit set.
ODD = {"nan": 0x7FC0, "negative nan": 0xFFC0, "inf": 0x7F80, "-inf": 0xFF80}


@needs_compiler
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bits", ODD.values(), ids=ODD)
@pytest.mark.parametrize("other", [1.0, -1.0, float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_that_are_not_finite(place, bits, other, dtype) -> None:
    """A run that diverges must be seen to: NaN is hidden by nothing."""
    images = torch.full((1, 17, 2, 2), other).bfloat16()
    images.view(torch.int16).view(1, 17, 4)[..., place] = bits - (bits >> 15 << 16)
    ours, theirs = both(images.to(dtype), torch.ones((1, 17, 1, 1), dtype=dtype))
    assert same(ours[0], theirs[0])
    assert same(ours[1], theirs[1])


@needs_compiler
@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_vectors_of_any_length(size, dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors whose vectors have so many bytes."""
    images = torch.randn((2, 37, 6, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    monkeypatch.setattr(pooling, "vector_bytes", lambda: size)
    pooling._kernels.cache_clear()
    ours, theirs = both(images, torch.ones((2, 37, 3, 2), dtype=dtype))
    pooling._kernels.cache_clear()
    assert same(ours[0], theirs[0])
    assert same(ours[1], theirs[1])


@needs_compiler
def test_fuses_what_it_can_and_keeps_every_name() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU()),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=1),
            nn.ReLU(),
        )

    model = fuse_pooling(make())
    assert list(model.state_dict()) == list(make().state_dict())
    assert [i for i, m in enumerate(model.modules()) if isinstance(m, PoolRelu)] == [3]
    with pytest.raises(TypeError, match="no kernel for"):
        model[0][1](torch.zeros(1, 1, 9, 9, dtype=torch.float64))


@needs_compiler
def test_a_fused_model_may_change_its_type() -> None:
    model = fuse_pooling(nn.Sequential(nn.Conv2d(1, 16, 3), nn.MaxPool2d(2), nn.ReLU()))
    half = copy.deepcopy(model).to(torch.bfloat16)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert half(images.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(half(images.bfloat16()).float(), model(images), atol=0.02, rtol=0.02)


def test_other_types_and_models_without_parameters_are_left_alone() -> None:
    for model in (
        nn.Sequential(nn.MaxPool2d(2), nn.ReLU()),
        Cnn.build(num_classes=3, channels=1, size=(8, 8), norm="none", weights=None).double(),
    ):
        before = [type(m) for m in model.modules()]
        assert [type(m) for m in fuse_pooling(model).modules()] == before


@needs_compiler
@pytest.mark.parametrize("size", [28, 9])
@pytest.mark.parametrize("kind", [SequentialEngine, Bfloat16Engine])
def test_training_without_a_compiler(monkeypatch, size, kind) -> None:
    """The same bits, but for float32's fused convolutions, whose sums are in another order."""
    monkeypatch.setattr(bfloat16, "native_bfloat16", lambda: True)
    scenario = Scenario(dataset="synthetic:200", num_clients=4, image_size=size, batch_size=8)
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    both, pools = (convolution._kernels, pooling._kernels), (lambda: None, pooling._kernels)
    updates, scores = [], []
    for convolves, pooled in (both, pools, (lambda: None, lambda _: None)):
        monkeypatch.setattr(convolution, "_kernels", convolves)
        monkeypatch.setattr(pooling, "_kernels", pooled)
        engine = kind(federation, CPU)
        trained = engine.model if kind is SequentialEngine else engine._half_model
        fused = [type(m) for m in trained.modules() if isinstance(m, (ConvPoolRelu, PoolRelu))]
        assert fused == {0: [ConvPoolRelu] * 2, 1: [PoolRelu] * 2, 2: []}[len(updates)]
        state = engine.initial_state()
        updates.append(engine.train(state, 1, (0, 1)).updates.clone())
        scores.append(engine.evaluate(state))
    assert bool((updates[0] != 0).any())
    assert torch.equal(updates[1], updates[2])
    assert torch.equal(updates[0], updates[1]) == (kind is Bfloat16Engine)
    torch.testing.assert_close(updates[0], updates[1], rtol=0, atol=1e-5)
    assert scores[1] == scores[2]
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-6)


@needs_compiler
def test_the_cnn_is_made_of_what_is_fused() -> None:
    model = Cnn.build(num_classes=3, channels=1, size=(8, 8), norm="none", weights=None)
    assert sum(isinstance(m, PoolRelu) for m in fuse_pooling(model).modules()) == 2
