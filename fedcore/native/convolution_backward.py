"""Gradients of [3x3 convolution - max pooling - ReLU], from what pooling kept alone."""

from __future__ import annotations

from ctypes import c_int64

import torch
from torch.nn.grad import conv2d_input

from fedcore.native.convolution_shapes import VECTOR, definitions, framed
from fedcore.native.functions import CFile, Functions
from fedcore.native.pooling import spread_gradient

_OF_WEIGHTS = "ppppppppiiiii"
FILE = CFile(
    "convolution_backward",
    {
        **dict.fromkeys(("single", "narrow", "wide"), _OF_WEIGHTS),
        "wide_images": "pppppiiii",
    },
    definitions,
)

_SHORT = 4  # floats of a vector that holds three pixels of a single channel


def of_weights(
    functions: Functions, images: torch.Tensor, gradient: torch.Tensor, code: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of weights [filters, c, 3, 3] and bias [filters].

    ``images``: float32 [n, c, h, w] of any strides; ``gradient``, of what was kept, and its
    ``code``: contiguous [n, h // 2, w // 2, filters]. ``functions``: of this module's C file.
    """
    n, c, h, w = images.shape
    filters = gradient.shape[3]
    space = framed(images.shape)
    kind, width = "narrow", VECTOR
    if c in (1, VECTOR):
        kind, width = ("single", _SHORT) if c == 1 else ("wide", 3 * c)
    total, bias = torch.zeros(filters, 3, width), torch.zeros(filters)
    work = torch.empty(2 * gradient[0].numel() if kind == "wide" else 0)
    functions[kind](
        images.data_ptr(), (c_int64 * 4)(*images.stride()), gradient.data_ptr(), code.data_ptr(),
        space.data_ptr(), work.data_ptr(), total.data_ptr(), bias.data_ptr(), n, c, h, w, filters,
    )  # fmt: skip
    return total[:, :, : 3 * c].reshape(filters, 3, 3, c).permute(0, 3, 1, 2), bias


def of_images(
    functions: Functions,
    pooling: Functions,
    images: torch.Tensor,
    weight: torch.Tensor,
    gradient: torch.Tensor,
    code: torch.Tensor,
) -> torch.Tensor:
    """The gradient of ``images`` [n, c, h, w]; arguments as of `of_weights`.

    With 16 channels by this module's kernel, else by torch from what pooling's ``pooling`` spreads.
    """
    n, c, h, w = images.shape
    filters = len(weight)
    if c != VECTOR:
        spread = spread_gradient(pooling, gradient, code, (n, filters, h, w))
        return conv2d_input(images.shape, weight, spread, padding=1)  # type: ignore[no-untyped-call, no-any-return]
    space = framed(images.shape)
    filter = weight.permute(0, 2, 3, 1).contiguous()
    out = torch.empty(n, h, w, c)
    functions["wide_images"](
        filter.data_ptr(), gradient.data_ptr(), code.data_ptr(), space.data_ptr(),
        out.data_ptr(), n, h, w, filters,
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)
