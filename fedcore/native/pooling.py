"""Max pooling followed by ReLU as one operation on the CPU: torch's bits in a third of its time.

torch's pooling writes an int64 index for each value, and its backward pass zeroes and scatters;
with ReLU that was a seventh of a small CNN's step. One byte a value says as much.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fedcore.native.functions import CFile, Functions

FILE = CFile(
    "pooling",
    {"forward": "pppiiii", "backward": "pppiiii"},
    lambda target: {"LANES": target.lanes},
)


def fuse_pooling(model: nn.Module) -> nn.Module:
    """Have ``model`` pool by `PoolRelu` where it can: the same results, sooner.

    That is in each nn.Sequential of ``model`` where ReLU follows MaxPool2d(2); in place, and all
    names stay. Does nothing unless the model is on the CPU, in float32, and there is a C compiler.
    """
    first = next(model.parameters(), None)
    if first is None or not _takes(first) or FILE.functions() is None:
        return model
    for part in model.modules():
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                if _halves(part[place]) and type(part[place + 1]) is nn.ReLU:
                    part[place], part[place + 1] = PoolRelu(), nn.Identity()
    return model


def _takes(images: torch.Tensor) -> bool:
    return images.dtype == torch.float32 and images.device.type == "cpu"


def _halves(layer: nn.Module) -> bool:
    """Whether ``layer`` is MaxPool2d over squares of 2, and nothing else."""
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices:
        return False
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return sizes == (2, 2, 0, 1)


class PoolRelu(nn.Module):
    """relu(max_pool2d(x, 2)) by compiled kernels, forward and backward.

    Takes [n, c, h, w], gives [n, c, h // 2, w // 2], in channels_last order. The numbers are those
    of torch's operators, which leave the sign of a zero to chance, and which compute what is not
    float32 on the CPU, and all where kernels are switched off or missing.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        functions = FILE.functions() if _takes(images) else None
        if functions is None:
            return F.relu(F.max_pool2d(images, 2))
        pooled: torch.Tensor = _PoolRelu.apply(functions, images)  # type: ignore[no-untyped-call]
        return pooled


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, functions: Functions, images: torch.Tensor) -> torch.Tensor:
        n, c, h, w = images.shape
        images = images.contiguous(memory_format=torch.channels_last)
        pooled = images.new_empty((n, h // 2, w // 2, c))
        code = torch.empty(pooled.shape, dtype=torch.uint8)
        functions["forward"](
            images.data_ptr(), pooled.data_ptr(), code.data_ptr(), n, h, w, c
        )  # fmt: skip
        ctx.functions, ctx.shape = functions, images.shape
        ctx.save_for_backward(code)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (code,) = ctx.saved_tensors
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        return None, spread_gradient(ctx.functions, gradient, code, ctx.shape)


def spread_gradient(
    functions: Functions, gradient: torch.Tensor, code: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    """The gradient of images of ``shape`` [n, c, h, w], by the ``functions`` of this file.

    ``gradient`` is that of the pooled values, contiguous float32 [n, h // 2, w // 2, c]. ``code``,
    uint8 of the same shape: 0 to 3 for the pixel of the square that was passed on, 4 where ReLU
    stopped it.
    """
    n, c, h, w = shape
    make = torch.zeros if h % 2 or w % 2 else torch.empty  # an odd side's last pixels get none
    images = make((n, h, w, c), dtype=gradient.dtype)
    functions["backward"](
        gradient.data_ptr(), code.data_ptr(), images.data_ptr(), n, h, w, c
    )  # fmt: skip
    return images.permute(0, 3, 1, 2)
