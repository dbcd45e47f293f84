"""The backward pass of [3x3 convolution - max pooling - ReLU] on the CPU, at a quarter of the work.

Of the gradient that reaches the convolution three values in four are zero, as pooling passes on one
of four pixels, and ReLU stops some of those. A dense convolution multiplies by all of them. Here
each value that pooling kept is multiplied once, with the patch that it was computed from (for the
weights) and with its filter (for the images). The forward pass is torch's, bit for bit; the
gradients are sums in another order.
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

from fedcore.engine.native import library, vector_bytes
from fedcore.engine.pooling import PoolRelu, pool_relu, spread_gradient

Kernel = Callable[..., None]

#: Floats of a vector, or of two or four where the processor's are shorter: a pixel of so many
#: channels fills one, three of at most 5 fit one. One of 4 holds three pixels of a single channel.
_VECTOR, _SHORT = 16, 4
_MOST_FILTERS = 64

_SOURCE = r"""
#include <stdint.h>
#include <string.h>
/* at any address: by memcpy a vector may be copied in halves, and what uses it has to wait */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float few __attribute__((vector_size(16), aligned(4), may_alias));
#define VECTOR 16
#define PIECES (VECTOR / LANES)
#define MOST_FILTERS 64
#define UNROLL _Pragma("GCC unroll 16")  /* else sums would not be registers */
#define INLINE static inline __attribute__((always_inline))

/* The gradient where ReLU lets it through, else 0: by a mask, as no branch could be guessed. */
INLINE float passed(float gradient, uint8_t code) {
    uint32_t bits;
    memcpy(&bits, &gradient, sizeof bits);
    bits &= -(uint32_t)(code < 4);
    memcpy(&gradient, &bits, sizeof bits);
    return gradient;
}

/* One image, pixel by pixel, in a frame of zeros. */
INLINE void frame(const float *in, const int64_t *stride, int64_t c, int64_t h, int64_t w,
                  float *out) {
    for (int64_t y = 0; y < h; y++) {
        float *row = out + ((y + 1) * (w + 2) + 1) * c;
        const float *from = in + y * stride[2];
        if ((c == 1 || stride[1] == 1) && stride[3] == c)
            memcpy(row, from, sizeof(float) * w * c);
        else
            for (int64_t x = 0; x < w; x++)
                for (int64_t k = 0; k < c; k++)
                    row[x * c + k] = from[x * stride[3] + k * stride[1]];
    }
}

/* Adds one image's part of BLOCK filters' gradients, ROWS of three from row line on, to total
   [filter][3][WIDTH vectors]: as many as registers hold. A filter's row is three pixels that lie
   side by side; lanes beyond them hold what nobody reads. */
#define WEIGHTS(NAME, TYPE, WIDTH, BLOCK, ROWS)                                                \
INLINE void NAME##_part(const float *framed, const float *gradient, const uint8_t *code,       \
                        int64_t c, int64_t row, int64_t filters, int64_t first, int64_t line,  \
                        int64_t ph, int64_t pw, TYPE *total, float *bias) {                    \
    TYPE sum[BLOCK][ROWS * (WIDTH)] = {0};                                                     \
    float base[BLOCK] = {0};                                                                   \
    for (int64_t y = 0; y < ph; y++)                                                           \
        for (int64_t x = 0; x < pw; x++) {                                                     \
            const float *corner = framed + (2 * y + line) * row + 2 * x * c;                   \
            const int64_t at = (y * pw + x) * filters + first;                                 \
            UNROLL                                                                             \
            for (int b = 0; b < BLOCK; b++) {                                                  \
                const int64_t place = code[at + b] & 3;                                        \
                const float value = passed(gradient[at + b], code[at + b]);                    \
                const float *patch = corner + (place >> 1) * row + (place & 1) * c;            \
                base[b] += value;                                                              \
                UNROLL                                                                         \
                for (int i = 0; i < ROWS; i++)                                                 \
                    UNROLL                                                                     \
                    for (int j = 0; j < WIDTH; j++)                                            \
                        sum[b][i * (WIDTH) + j] +=                                             \
                            value * *(const TYPE *)(patch + i * row + j * LANES);              \
            }                                                                                  \
        }                                                                                      \
    UNROLL                                                                                     \
    for (int b = 0; b < BLOCK; b++) {                                                          \
        bias[first + b] += line ? 0 : base[b];                                                 \
        UNROLL                                                                                 \
        for (int i = 0; i < ROWS * (WIDTH); i++)                                               \
            total[((first + b) * 3 + line) * (WIDTH) + i] += sum[b][i];                        \
    }                                                                                          \
}                                                                                              \
/* Gradients of filters [filters][3][3 * c, filled up to vectors] and bias, over all images.   \
   stride: of the images' n, c, h, w. space: (h + 2) * (w + 2) * c floats and a vector more,   \
   all zero. */                                                                                \
void NAME(const float *images, const int64_t *stride, const float *gradient,                   \
          const uint8_t *code, float *space, float *total, float *bias, int64_t n, int64_t c,  \
          int64_t h, int64_t w, int64_t filters) {                                             \
    const int64_t pooled = (h / 2) * (w / 2) * filters;                                        \
    for (int64_t i = 0; i < n; i++) {                                                          \
        frame(images + i * stride[0], stride, c, h, w, space);                                 \
        for (int64_t first = 0; first < filters; first += BLOCK)                               \
            for (int64_t line = 0; line < 3; line += ROWS)                                     \
                NAME##_part(space, gradient + i * pooled, code + i * pooled, c, (w + 2) * c,   \
                            filters, first, line, h / 2, w / 2, (TYPE *)total, bias);          \
    }                                                                                          \
}
WEIGHTS(single, few, 1, 4, 3)
#if LANES == 16
WEIGHTS(narrow, lanes, PIECES, 4, 3)
WEIGHTS(wide, lanes, 3 * PIECES, 2, 3)
#else
WEIGHTS(narrow, lanes, PIECES, LANES / 4, 3)
WEIGHTS(wide, lanes, 3 * PIECES, LANES / 4, 1)
#endif

/* Images' gradient [n][h][w][16], from filters [filters][9][16]. space as above, not only zero. */
void wide_images(const float *filter, const float *gradient, const uint8_t *code, float *space,
                 float *out, int64_t n, int64_t h, int64_t w, int64_t filters) {
    const int64_t row = (w + 2) * VECTOR, ph = h / 2, pw = w / 2;
    for (int64_t i = 0; i < n; i++) {
        memset(space, 0, sizeof(float) * (h + 2) * row);
        for (int64_t p = 0; p < ph * pw; p++, gradient += filters, code += filters) {
            uint8_t chosen[5][MOST_FILTERS];
            int64_t count[5] = {0};
            for (int64_t f = 0; f < filters; f++)  /* no branch that could be guessed wrong */
                chosen[code[f]][count[code[f]]++] = f;
            for (int64_t place = 0; place < 4; place++) {
                float *corner = space + (2 * (p / pw) + (place >> 1)) * row
                              + (2 * (p % pw) + (place & 1)) * VECTOR;
                for (int piece = 0; piece < PIECES && count[place]; piece++) {
                    lanes sum[9] = {0};
                    for (int64_t k = 0; k < count[place]; k++) {
                        const int64_t f = chosen[place][k];
                        const float value = gradient[f];
                        const float *own = filter + f * 9 * VECTOR + piece * LANES;
                        UNROLL
                        for (int t = 0; t < 9; t++)
                            sum[t] += value * *(const lanes *)(own + t * VECTOR);
                    }
                    UNROLL
                    for (int t = 0; t < 9; t++) {
                        float *to = corner + (t / 3) * row + (t % 3) * VECTOR + piece * LANES;
                        *(lanes *)to += sum[t];
                    }
                }
            }
        }
        for (int64_t y = 0; y < h; y++, out += w * VECTOR)
            memcpy(out, space + (y + 1) * row + VECTOR, sizeof(float) * w * VECTOR);
    }
}
"""


def fuse_convolutions(model: nn.Module) -> nn.Module:
    """Have ``model`` differentiate each convolution before a `PoolRelu` by `ConvPoolRelu`.

    For 3x3 convolutions of stride 1 and padding 1, of at most 5 or of 16 channels, and of a
    multiple of 4 filters, at most 64; in place, and all names stay. Does nothing without a C
    compiler.
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
        and filters % 4 == 0
        and filters <= _MOST_FILTERS
    )


class ConvPoolRelu(nn.Module):
    """relu(max_pool2d(conv2d(x, weight, bias, padding=1), 2)) with the parameters of ``layer``.

    Another type than float32 is left to `PoolRelu` and torch's gradients.
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
        pooled, code = pool_relu(F.conv2d(images, weight, bias, padding=1))
        ctx.save_for_backward(images, weight, code)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, weight, code = ctx.saved_tensors
        kernels = _kernels()
        assert kernels is not None
        *by_width, wide_images = kernels
        n, c, h, w = images.shape
        filters = weight.shape[0]
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        space = torch.zeros((h + 2) * (w + 2) * c + _VECTOR)
        kind, width = (0, _SHORT) if c == 1 else (2, 3 * c) if c == _VECTOR else (1, _VECTOR)
        total, bias = torch.zeros(filters, 3, width), torch.zeros(filters)
        stride = (c_int64 * 4)(*images.stride())
        by_width[kind](
            images.data_ptr(), stride, gradient.data_ptr(), code.data_ptr(), space.data_ptr(),
            total.data_ptr(), bias.data_ptr(), n, c, h, w, filters,
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
        wide_images(
            filter.data_ptr(), gradient.data_ptr(), code.data_ptr(), space.data_ptr(),
            out.data_ptr(), n, h, w, filters,
        )  # fmt: skip
        return out.permute(0, 3, 1, 2), weights, bias


@functools.cache
def _kernels() -> tuple[Kernel, ...] | None:
    """The kernels of weights, for 1, 2 to 5 and 16 channels, and that of images.

    None where they cannot be compiled.
    """
    loaded = library(f"#define LANES {vector_bytes() // 4}\n{_SOURCE}")
    if loaded is None:
        return None
    found = tuple(loaded[name] for name in ("single", "narrow", "wide", "wide_images"))
    for function, pointers, numbers in zip(found, (7, 7, 7, 5), (5, 5, 5, 4), strict=True):
        function.argtypes = [c_void_p] * pointers + [c_int64] * numbers
        function.restype = None
    return found
