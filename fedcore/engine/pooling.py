"""Max pooling followed by ReLU as one operation in bfloat16: torch's bits in a third of its time.

torch's pooling writes an int64 index for each value, and its backward pass zeroes and scatters;
with ReLU that was a quarter of a small CNN's step. One byte a value says as much.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from typing import Any

import torch
from torch import nn

from fedcore.engine.native import library

Kernel = Callable[..., None]

_SOURCE = r"""
#include <stdint.h>

/* Images lie pixel by pixel [n, h, w, c], bfloat16 as uint16_t. A code is 0 to 3 for the pixel of
   the 2 x 2 that is the greatest, the first of equal ones, and 4 where ReLU lets nothing through.
   NaN is greatest of all, and passes ReLU, as in torch. */

#define BLOCK 16  /* channels that are pooled at once: 256 bits */
#define PART static inline __attribute__((always_inline)) void

/* A value that orders as the number it stands for does: 0 for what ReLU stops, NaN above all. */
static inline int16_t rectify(uint16_t bits) {
    int16_t number = (int16_t)bits, size = bits & 0x7fff;
    return size > 0x7f80 || number > 0 ? size : 0;
}

PART pool(const uint16_t *in, int64_t row, int64_t c, uint16_t *restrict out,
          uint8_t *restrict code, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        const uint16_t rest[3] = { in[k + c], in[k + row], in[k + row + c] };
        int16_t best = rectify(in[k]), place = 0;
        for (int16_t i = 0; i < 3; i++) {
            int16_t value = rectify(rest[i]);
            place = value > best ? i + 1 : place;
            best = value > best ? value : best;
        }
        out[k] = best;
        code[k] = best ? place : 4;
    }
}

PART spread(const uint16_t *restrict gradient, const uint8_t *restrict code, uint16_t *restrict a,
            uint16_t *restrict b, uint16_t *restrict d, uint16_t *restrict e, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        uint16_t value = gradient[k], place = code[k];
        a[k] = place == 0 ? value : 0;
        b[k] = place == 1 ? value : 0;
        d[k] = place == 2 ? value : 0;
        e[k] = place == 3 ? value : 0;
    }
}

/* calls DO(offset in, offset out, channels) for all pixels of the result, some channels at a time;
   the constant count is what makes a loop over few channels fit the registers */
#define EACH_PIXEL(DO)                                              \
    int64_t o = 0, row = w * c;                                     \
    for (int64_t i = 0; i < n; i++)                                 \
        for (int64_t y = 0; y < h / 2; y++)                         \
            for (int64_t x = 0; x < w / 2; x++, o += c) {           \
                int64_t p = ((i * h + 2 * y) * w + 2 * x) * c, k;   \
                for (k = 0; k + BLOCK <= c; k += BLOCK)             \
                    DO(p + k, o + k, BLOCK);                        \
                if (k < c)                                          \
                    DO(p + k, o + k, c - k);                        \
            }

void forward(const uint16_t *in, uint16_t *out, uint8_t *code,
             int64_t n, int64_t h, int64_t w, int64_t c) {
#define POOL(p, o, count) pool(in + (p), row, c, out + (o), code + (o), count)
    EACH_PIXEL(POOL)
}

void backward(const uint16_t *gradient, const uint8_t *code, uint16_t *in,
              int64_t n, int64_t h, int64_t w, int64_t c) {
#define SPREAD(p, o, count) spread(gradient + (o), code + (o), in + (p), in + (p) + c, \
                                   in + (p) + row, in + (p) + row + c, count)
    EACH_PIXEL(SPREAD)
}
"""


def fuse_pooling(model: nn.Module) -> nn.Module:
    """Have ``model``, in bfloat16 on the CPU, pool by `PoolRelu` where it can: the same results.

    That is in each nn.Sequential of ``model`` where ReLU follows MaxPool2d(2); in place, and all
    names stay. Does nothing where there is no C compiler.
    """
    kernels = _kernels()
    if kernels is not None:
        for part in model.modules():
            if isinstance(part, nn.Sequential):
                for place in range(len(part) - 1):
                    if _halves(part[place]) and type(part[place + 1]) is nn.ReLU:
                        part[place], part[place + 1] = PoolRelu(kernels), nn.Identity()
    return model


def _halves(layer: nn.Module) -> bool:
    """Whether ``layer`` is MaxPool2d over squares of 2, and nothing else."""
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices:
        return False
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return sizes == (2, 2, 0, 1)


class PoolRelu(nn.Module):
    """relu(max_pool2d(x, 2)) by ``kernels``, forward and backward.

    Takes bfloat16 [n, c, h, w] on the CPU, gives [n, c, h // 2, w // 2] in channels_last order.
    The numbers are those of torch's operators, which leave the sign of a zero to chance.
    """

    def __init__(self, kernels: tuple[Kernel, Kernel]) -> None:
        super().__init__()
        self._kernels = kernels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.dtype != torch.bfloat16:  # the kernels would read beyond its end
            raise TypeError(f"PoolRelu takes bfloat16, got {images.dtype}")
        pooled: torch.Tensor = _PoolRelu.apply(images, *self._kernels)  # type: ignore[no-untyped-call]
        return pooled


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, pool: Kernel, spread: Kernel) -> torch.Tensor:
        n, c, h, w = ctx.shape = images.shape
        ctx.spread = spread
        images = images.contiguous(memory_format=torch.channels_last)
        pooled = images.new_empty((n, h // 2, w // 2, c))
        code = torch.empty(pooled.shape, dtype=torch.uint8)
        pool(images.data_ptr(), pooled.data_ptr(), code.data_ptr(), n, h, w, c)
        ctx.save_for_backward(code)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        n, c, h, w = ctx.shape
        (code,) = ctx.saved_tensors
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        make = torch.zeros if h % 2 or w % 2 else torch.empty  # an odd side's last pixels get none
        images = make((n, h, w, c), dtype=torch.bfloat16)
        ctx.spread(gradient.data_ptr(), code.data_ptr(), images.data_ptr(), n, h, w, c)
        return images.permute(0, 3, 1, 2), None, None


@functools.cache
def _kernels() -> tuple[Kernel, Kernel] | None:
    """(forward, backward) of the source above; None where it cannot be compiled."""
    loaded = library(_SOURCE)
    if loaded is None:
        return None
    for function in (loaded.forward, loaded.backward):
        function.argtypes = [c_void_p] * 3 + [c_int64] * 4
        function.restype = None
    return loaded.forward, loaded.backward
