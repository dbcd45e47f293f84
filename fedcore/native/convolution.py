"""[3x3 convolution - max pooling - ReLU] as one compiled operation on the CPU, and its gradients.

Forward, the four pixels of a square that is pooled are computed side by side, and what is kept is
all that is written. Backward, only what was kept is multiplied. Results are sums in another order
than torch's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from fedcore.native import convolution_backward, convolution_forward, pooling
from fedcore.native.convolution_shapes import computes
from fedcore.native.functions import Functions
from fedcore.native.pooling import PoolRelu


class _Kernels(NamedTuple):
    """The functions of three C files, all or none."""

    forward: Functions
    backward: Functions
    pooling: Functions


def _kernels() -> _Kernels | None:
    files = (convolution_forward.FILE, convolution_backward.FILE, pooling.FILE)
    forward, backward, pools = (file.functions() for file in files)
    if forward is None or backward is None or pools is None:
        return None
    return _Kernels(forward, backward, pools)


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
    return (
        shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and layer.padding_mode == "zeros"
        and layer.bias is not None
        and computes(layer.in_channels, layer.out_channels)
    )


class ConvPoolRelu(nn.Module):
    """relu(max_pool2d(conv2d(x, weight, bias, padding=1), 2)) with the parameters of ``layer``.

    Another type than float32 is left to torch, and all where kernels are switched off.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[n, c, h, w] to [n, filters, h // 2, w // 2], in channels_last order."""
        kernels = _kernels() if self.weight.dtype is torch.float32 else None
        if kernels is None:
            return PoolRelu()(F.conv2d(images, self.weight, self.bias, padding=1))  # type: ignore[no-any-return]
        out: torch.Tensor = _ConvPoolRelu.apply(  # type: ignore[no-untyped-call]
            kernels, images, self.weight, self.bias
        )
        return out


class _ConvPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernels: _Kernels, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        out, code = convolution_forward.convolve(kernels.forward, images, weight, bias)
        ctx.kernels = kernels
        ctx.save_for_backward(images, weight, code)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight, code = ctx.saved_tensors
        kernels: _Kernels = ctx.kernels
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        of_weights, of_bias = convolution_backward.of_weights(
            kernels.backward, images, gradient, code
        )
        of_images = None
        if ctx.needs_input_grad[1]:
            of_images = convolution_backward.of_images(
                kernels.backward, kernels.pooling, images, weight, gradient, code
            )
        return None, of_images, of_weights, of_bias
