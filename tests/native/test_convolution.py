"""Convolution, pooling and ReLU as one operation, and gradients from what pooling kept."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedcore.models.cnn import Cnn
from fedcore.native import disabled
from fedcore.native.compiler import compiler, vectors_of
from fedcore.native.convolution import ConvPoolRelu, fuse_convolutions
from fedcore.native.pooling import PoolRelu, fuse_pooling

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")


def gradients(
    layer: nn.Conv2d, images: torch.Tensor, gradient: torch.Tensor, fused: bool
) -> tuple[torch.Tensor, ...]:
    """Result and gradients of images, weights and bias: ours, or torch's."""
    leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
    out = ConvPoolRelu(layer)(leaf) if fused else F.relu(F.max_pool2d(layer(leaf), 2))
    return out.detach(), *torch.autograd.grad(out, [leaf, layer.weight, layer.bias], gradient)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 3, 5, 16]),
    filters=st.sampled_from([16, 48, 64]),
    h=st.integers(2, 9),
    w=st.integers(2, 9),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_torchs_in_float64(
    n, channels, filters, h, w, layout, seed
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(channels, filters, 3, padding=1)
    for parameter in layer.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    images = torch.randn((n, channels, h, w), generator=generator).contiguous(memory_format=layout)
    gradient = torch.randn((n, filters, h // 2, w // 2), generator=generator)
    ours = gradients(layer, images, gradient, fused=True)
    exact = gradients(copy.deepcopy(layer).double(), images.double(), gradient.double(), False)
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=0, atol=1e-5)
    # where two pixels are equal but for rounding, either may be the one that is passed on
    if torch.equal(ours[0] > 0, exact[0] > 0) and _clear(layer, images):
        for mine, theirs in zip(ours, exact, strict=True):
            scale = float(theirs.abs().max()) + 1e-30
            torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=1e-5 * scale)


def _clear(layer: nn.Conv2d, images: torch.Tensor) -> bool:
    """Whether the two greatest of each square are further apart than rounding reaches."""
    maps = layer(images).detach()
    squares = F.unfold(maps.flatten(0, 1)[:, None], 2, stride=2)  # [maps, 4, squares]
    first, second = squares.topk(2, dim=1).values.unbind(1)
    return bool((first - second > 1e-5).all())


def test_a_gradient_by_hand() -> None:
    """One square, whose lower right pixel is passed on: its patch is the gradient, doubled."""
    layer = nn.Conv2d(1, 16, 3, padding=1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :, 1, 1] = 1  # the identity
        layer.bias.zero_()[3:] = -9  # these filters are stopped
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    gradient = torch.tensor([2.0, 0.0, 1.0, *[5.0] * 13]).view(1, 16, 1, 1)
    out, image, weight, bias = gradients(layer, images, gradient, fused=True)
    assert out.flatten().tolist() == [4, 4, 4] + [0] * 13
    assert weight[0, 0].tolist() == [[2, 4, 0], [6, 8, 0], [0, 0, 0]]
    assert weight[1].abs().max() == weight[3:].abs().max() == 0
    assert bias.tolist() == [2, 0, 1] + [0] * 13
    assert image.view(2, 2).tolist() == [[0, 0], [0, 3]]


@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_seen(bad: float, channels: int) -> None:
    layer = nn.Conv2d(channels, 16, 3, padding=1)
    images = torch.full((1, channels, 4, 4), bad)
    ours = gradients(layer, images, torch.ones(1, 16, 2, 2), fused=True)
    theirs = gradients(layer, images, torch.ones(1, 16, 2, 2), fused=False)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.isfinite().all() <= other.isfinite().all()
    assert not ours[0].isfinite().all()
    assert not ours[2].isfinite().all()


@torch.no_grad()
def test_tiles_err_no_more_than_torch() -> None:
    """Winograd's forms cancel; in this one, the least, that costs no digits."""
    generator = torch.Generator().manual_seed(5)
    layer = nn.Conv2d(16, 32, 3, padding=1)
    images = torch.randn((8, 16, 14, 14), generator=generator)
    exact = F.relu(F.max_pool2d(copy.deepcopy(layer).double()(images.double()), 2))
    ours = float((ConvPoolRelu(layer)(images).double() - exact).norm())
    theirs = float((F.relu(F.max_pool2d(layer(images), 2)).double() - exact).norm())
    assert 0 < ours < 1.2 * theirs  # 0.67 times as far


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_the_length_of_vectors_changes_no_bit(
    channels: int,
) -> None:
    """As on processors whose vectors have 16, 32 and 64 bytes."""
    generator = torch.Generator().manual_seed(channels)
    layer = nn.Conv2d(channels, 16, 3, padding=1)
    images = torch.randn((3, channels, 9, 6), generator=generator)
    gradient = torch.randn((3, 16, 4, 3), generator=generator)
    made = []
    for size in (16, 32, 64):
        with vectors_of(size):
            made.append(gradients(layer, images, gradient, fused=True))
    for other in made[1:]:
        assert all(torch.equal(*pair) for pair in zip(made[0], other, strict=True))


def test_fuses_what_fits_and_keeps_every_name() -> None:
    def block(layer: nn.Module) -> nn.Module:
        return nn.Sequential(layer, nn.MaxPool2d(2), nn.ReLU())

    fit = [nn.Conv2d(c, f, 3, padding=1) for c, f in ((1, 16), (5, 48), (16, 64))]
    unfit = [
        nn.Conv2d(6, 16, 3, padding=1),
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Conv2d(16, 80, 3, padding=1),
        nn.Conv2d(3, 16, 5, padding=1),
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(3, 16, 3, padding=1, stride=2),
        nn.Conv2d(4, 16, 3, padding=1, groups=2),
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.Conv2d(3, 16, 3, padding=1, padding_mode="circular"),
    ]
    model = nn.Sequential(*map(block, [*fit, *unfit]), nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    names = list(model.state_dict())
    fuse_convolutions(fuse_pooling(model))
    assert [isinstance(part[0], ConvPoolRelu) for part in model[: len([*fit, *unfit])]] == (
        [True] * len(fit) + [False] * len(unfit)
    )
    assert list(model.state_dict()) == names
    assert type(model[-2]) is nn.Conv2d


def test_a_copy_in_another_type_has_torchs_gradients() -> None:
    cnn = Cnn().build(num_classes=3, channels=1, size=(8, 8), norm="none", weights=None)
    models = [fuse_convolutions(fuse_pooling(copy.deepcopy(cnn))), fuse_pooling(cnn)]
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = []
    for model in models:
        half = copy.deepcopy(model).to(torch.bfloat16)
        found.append(torch.autograd.grad(half(images).float().sum(), list(half.parameters())))
    assert isinstance(models[0][0], ConvPoolRelu)
    assert isinstance(models[1][1], PoolRelu)
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


def test_a_fused_model_computes_without_kernels_too() -> None:
    """What was computed with them is differentiated by them."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, padding=1)
    images = torch.randn((2, 16, 8, 8), generator=generator)
    gradient = torch.randn((2, 16, 4, 4), generator=generator)
    with_kernels = gradients(layer, images, gradient, fused=True)
    theirs = gradients(layer, images, gradient, fused=False)
    for names in ((), ("convolution_forward",), ("convolution_backward",)):
        with disabled(*names):
            assert all(map(torch.equal, gradients(layer, images, gradient, fused=True), theirs))
            model = nn.Sequential(layer, nn.MaxPool2d(2), nn.ReLU())
            fused = fuse_convolutions(fuse_pooling(model))
            assert isinstance(fused[0], nn.Conv2d)
    assert not torch.equal(with_kernels[0], theirs[0])
    leaf = images.clone().requires_grad_()
    out = ConvPoolRelu(layer)(leaf)
    with disabled():
        (late,) = torch.autograd.grad(out, leaf, gradient)
    assert torch.equal(late, with_kernels[1])
