"""[3x3 convolution - max pooling - ReLU] as one compiled operation on the CPU, and its gradients.

Forward, the four pixels of a square that is pooled are computed side by side, and what is kept is
all that is written. Backward, only what was kept is multiplied. Results are sums in another order
than torch's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_input

from fedcore.native import convolution_backward, convolution_forward, pooling
from fedcore.native.compiler import library, vector_bytes
from fedcore.native.pooling import PoolRelu, spread_gradient

Kernel = Callable[..., None]

#: Floats of a vector, or of two or four where the processor's are shorter: a pixel of so many
#: channels fills one, three of at most 5 fit one. One of 4 holds three pixels of a single channel.
_VECTOR, _SHORT = 16, 4
_MOST_FILTERS = 64
# Floats that the forward pass with 16 channels needs beside 256 a filter: tiles and their products.
_TILES = 2 * 16 * 12 * _VECTOR


def fuse_convolutions(model: nn.Module) -> nn.Module:
    """Have ``model`` compute each convolution before a `PoolRelu` by `ConvPoolRelu`.

    For 3x3 convolutions of stride 1 and padding 1, of at most 5 or of 16 channels, and of 16, 32,
    48 or 64 filters; in place, and all names stay. Does nothing without a C compiler.
    """
    for part in model.modules():
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                layer = part[place]
                pooled = isinstance(part[place + 1], PoolRelu)
                if pooled and type(layer) is nn.Conv2d and _fits(layer) and _kernels():
                    part[place], part[place + 1] = ConvPoolRelu(layer), nn.Identity()
    return model


def _fits(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    filters, channels = layer.out_channels, layer.in_channels
    return (
        shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and layer.padding_mode == "zeros"
        and layer.bias is not None
        and (3 * channels <= _VECTOR or channels == _VECTOR)
        and filters % _VECTOR == 0
        and filters <= _MOST_FILTERS
    )


class ConvPoolRelu(nn.Module):
    """relu(max_pool2d(conv2d(x, weight, bias, padding=1), 2)) with the parameters of ``layer``.

    Another type than float32 is left to torch and `PoolRelu`.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[n, c, h, w] to [n, filters, h // 2, w // 2], in channels_last order."""
        if self.weight.dtype is not torch.float32:
            return PoolRelu()(F.conv2d(images, self.weight, self.bias, padding=1))  # type: ignore[no-any-return]
        out: torch.Tensor = _ConvPoolRelu.apply(  # type: ignore[no-untyped-call]
            images, self.weight, self.bias
        )
        return out


class _ConvPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        kernels = _kernels()
        assert kernels is not None
        n, c, h, w = images.shape
        filters = len(weight)
        by_tap = weight.detach().permute(2, 3, 1, 0).contiguous()
        space = torch.zeros((h + 2) * (w + 2) * c + _VECTOR)
        work = torch.empty(256 * filters + _TILES if c == _VECTOR else 0)
        out = torch.empty(n, h // 2, w // 2, filters)
        code = torch.empty(out.shape, dtype=torch.uint8)
        kernels["winograd" if c == _VECTOR else "direct"](
            images.data_ptr(), (c_int64 * 4)(*images.stride()), by_tap.data_ptr(), bias.data_ptr(),
            space.data_ptr(), work.data_ptr(), out.data_ptr(), code.data_ptr(), n, c, h, w, filters,
        )  # fmt: skip
        ctx.save_for_backward(images, weight, code)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight, code = ctx.saved_tensors
        kernels = _kernels()
        assert kernels is not None
        n, c, h, w = images.shape
        filters = weight.shape[0]
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        space = torch.zeros((h + 2) * (w + 2) * c + _VECTOR)
        kind, width = "narrow", _VECTOR
        if c in (1, _VECTOR):
            kind, width = ("single", _SHORT) if c == 1 else ("wide", 3 * c)
        total, bias = torch.zeros(filters, 3, width), torch.zeros(filters)
        stride = (c_int64 * 4)(*images.stride())
        work = torch.empty(2 * gradient[0].numel() if kind == "wide" else 0)
        kernels[kind](
            images.data_ptr(), stride, gradient.data_ptr(), code.data_ptr(), space.data_ptr(),
            work.data_ptr(), total.data_ptr(), bias.data_ptr(), n, c, h, w, filters,
        )  # fmt: skip
        weights = total[:, :, : 3 * c].reshape(filters, 3, 3, c).permute(0, 3, 1, 2)
        if not ctx.needs_input_grad[0]:
            return None, weights, bias
        if c != _VECTOR:
            spread = spread_gradient(gradient, code, (n, filters, h, w))
            out = conv2d_input(images.shape, weight, spread, padding=1)  # type: ignore[no-untyped-call]
            return out, weights, bias
        filter = weight.permute(0, 2, 3, 1).contiguous()
        out = torch.empty(n, h, w, c)
        kernels["wide_images"](
            filter.data_ptr(), gradient.data_ptr(), code.data_ptr(), space.data_ptr(),
            out.data_ptr(), n, h, w, filters,
        )  # fmt: skip
        return out.permute(0, 3, 1, 2), weights, bias


#: Pointers and numbers that each kernel takes.
_KERNELS = {
    "direct": (8, 5),
    "winograd": (8, 5),
    "single": (8, 5),
    "narrow": (8, 5),
    "wide": (8, 5),
    "wide_images": (5, 4),
}


@functools.cache
def _kernels() -> dict[str, Kernel] | None:
    """The kernels by name; None where they cannot be compiled.

    Convolution of few channels and of 16; weights' gradients for 1, 2 to 5 and 16 channels; images'
    for 16.
    """
    loaded = library(program())
    if loaded is None:
        return None
    found: dict[str, Any] = {name: loaded[name] for name in _KERNELS}
    for name, (pointers, numbers) in _KERNELS.items():
        found[name].argtypes = [c_void_p] * pointers + [c_int64] * numbers
        found[name].restype = None
    return found


def program() -> str:
    """All C source of this module and of those that it takes functions from."""
    parts = (
        pooling.source(torch.float32),
        f"#define LANES {vector_bytes() // 4}",
        f"#define VECTOR {_VECTOR}",
        f"#define MOST_FILTERS {_MOST_FILTERS}",
        convolution_forward.SOURCE,
        convolution_backward.SOURCE,
    )
    return "\n".join(parts)
