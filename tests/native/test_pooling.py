"""Pooling and ReLU as one compiled operation."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedcore.engine.sequential import SequentialEngine
from fedcore.federation.federation import Federation
from fedcore.models.cnn import Cnn
from fedcore.native import disabled
from fedcore.native.compiler import compiler, vectors_of
from fedcore.native.convolution import ConvPoolRelu
from fedcore.native.pooling import PoolRelu, fuse_pooling
from fedcore.scenario import Scenario

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")


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
    seed=st.integers(0, 99),
)
def test_values_are_those_of_torch(n, c, h, w, layout, levels, seed) -> None:
    """Few levels make ties, of which the first pixel takes the gradient; zeros of both signs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-levels, levels + 1, (n, c, h, w), generator=generator) / levels
    images = images.mul(-1).contiguous(memory_format=layout)  # 0 becomes -0
    gradient = torch.randn((n, c, h // 2, w // 2), generator=generator)
    ours, theirs = both(images, gradient)
    assert same(ours[0], theirs[0])
    assert same(ours[1], theirs[1])


#: Upper bits; what x86 computes for infinity minus infinity has its sign bit set.
ODD = {"nan": 0x7FC0, "negative nan": 0xFFC0, "inf": 0x7F80, "-inf": 0xFF80}


@needs_compiler
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bits", ODD.values(), ids=ODD)
@pytest.mark.parametrize("other", [1.0, -1.0, float("inf"), -float("inf")])
def test_values_that_are_not_finite(place, bits, other) -> None:
    """A run that diverges must be seen to: NaN is hidden by nothing."""
    images = torch.full((1, 17, 2, 2), other).bfloat16()
    images.view(torch.int16).view(1, 17, 4)[..., place] = bits - (bits >> 15 << 16)
    ours, theirs = both(images.float(), torch.ones(1, 17, 1, 1))
    assert same(ours[0], theirs[0])
    assert same(ours[1], theirs[1])


@needs_compiler
@pytest.mark.parametrize("size", [16, 32, 64])
def test_vectors_of_any_length(size: int) -> None:
    """As on processors whose vectors have so many bytes."""
    images = torch.randn((2, 37, 6, 5), generator=torch.Generator().manual_seed(0))
    with vectors_of(size):
        ours, theirs = both(images, torch.ones(2, 37, 3, 2))
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


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_type_is_torchs(dtype: torch.dtype) -> None:
    """A fused model may change its type; the kernel would read beyond the end."""
    model = fuse_pooling(nn.Sequential(nn.Conv2d(1, 16, 3), nn.MaxPool2d(2), nn.ReLU()))
    assert isinstance(model[1], PoolRelu)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    maps = copy.deepcopy(model[0]).to(dtype)(images)
    assert torch.equal(model[1](maps), F.relu(F.max_pool2d(maps, 2)))


def test_other_types_and_models_without_parameters_are_left_alone() -> None:
    for model in (
        nn.Sequential(nn.MaxPool2d(2), nn.ReLU()),
        Cnn().build(num_classes=3, channels=1, size=(8, 8), norm="none", weights=None).double(),
    ):
        before = [type(m) for m in model.modules()]
        assert [type(m) for m in fuse_pooling(model).modules()] == before


@needs_compiler
@pytest.mark.parametrize("size", [28, 9])
def test_training_without_kernels(size: int) -> None:
    """The same bits, but for fused convolutions, whose sums are in another order."""
    scenario = Scenario(dataset="synthetic:200", num_clients=4, image_size=size, batch_size=8)
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    none = contextlib.nullcontext()
    updates, scores = [], []
    for without, expected in (
        (none, [ConvPoolRelu] * 2),
        (disabled("convolution_forward"), [PoolRelu] * 2),
        (disabled(), []),
    ):
        with without:
            engine = SequentialEngine(federation, CPU)
            kinds = (ConvPoolRelu, PoolRelu)
            assert [type(m) for m in engine.model.modules() if isinstance(m, kinds)] == expected
            state = engine.initial_state()
            updates.append(engine.train(state, 1, (0, 1)).updates.clone())
            scores.append(engine.evaluate(state))
    assert bool((updates[0] != 0).any())
    assert torch.equal(updates[1], updates[2])
    assert not torch.equal(updates[0], updates[1])
    torch.testing.assert_close(updates[0], updates[1], rtol=0, atol=1e-5)
    assert scores[1] == scores[2]
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-6)


@needs_compiler
def test_the_cnn_is_made_of_what_is_fused() -> None:
    model = Cnn().build(num_classes=3, channels=1, size=(8, 8), norm="none", weights=None)
    assert sum(isinstance(m, PoolRelu) for m in fuse_pooling(model).modules()) == 2
