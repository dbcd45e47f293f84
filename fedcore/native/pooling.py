"""Max pooling followed by ReLU as one operation on the CPU: torch's bits in a third of its time.

torch's pooling writes an int64 index for each value, and its backward pass zeroes and scatters;
with ReLU that was a seventh of a small CNN's step in float32, a quarter in bfloat16. One byte a
value says as much.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from typing import Any

import torch
from torch import nn

from fedcore.native.compiler import library, vector_bytes

Kernel = Callable[..., None]

#: What is written once and compiled for each of `_TYPES`.
_SOURCE = r"""
#include <stdint.h>
#include <string.h>
#ifndef PICK
#ifdef __clang__
#define PICK(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define PICK(v, ...) __builtin_shuffle(v, (__typeof__(v)){__VA_ARGS__})
#endif
#endif

/* Images lie pixel by pixel [n, h, w, c], their numbers as BITS. A code is 0 to 3 for the pixel of
   the 2 x 2 that is the greatest, the first of equal ones, and 4 where ReLU lets nothing through.
   NaN is greatest of all, and passes ReLU, as in torch. BLOCK channels, a vector, go at once. */

#define PART static inline __attribute__((always_inline)) void

/* A value that orders as the number it stands for does: 0 for what ReLU stops, NaN above all. */
static inline NUMBER NAME(rectify)(BITS bits) {
    NUMBER number = (NUMBER)bits, size = bits & ~((BITS)1 << (8 * sizeof(BITS) - 1));
    return size > INFINITE || number > 0 ? size : 0;
}

/* at any address: by memcpy a vector may be copied in halves, and what uses it has to wait */
typedef NUMBER NAME(numbers)
    __attribute__((vector_size(BLOCK * sizeof(NUMBER)), aligned(sizeof(NUMBER)), may_alias));
typedef uint8_t NAME(bytes) __attribute__((vector_size(BLOCK), aligned(1), may_alias));

/* The loop below for BLOCK channels: compilers do not see that it is one over vectors. A comparison
   of vectors gives -1 where it holds, and 0 elsewhere. */
PART NAME(pool_block)(const BITS *in, int64_t row, int64_t c, BITS *out, uint8_t *code) {
    const BITS *pixels[4] = { in, in + c, in + row, in + row + c };
    const NUMBER magnitude = ~((BITS)1 << (8 * sizeof(BITS) - 1));
    NAME(numbers) best = {0}, place = {0}, value, holds;
    for (NUMBER i = 0; i < 4; i++) {
        value = *(const NAME(numbers) *)pixels[i];
        value &= magnitude & (((value & magnitude) > (NUMBER)INFINITE) | (value > 0));
        holds = value > best;
        best = (value & holds) | (best & ~holds);
        place = (i & holds) | (place & ~holds);
    }
    holds = best == 0;
    place |= (NUMBER)4 & holds;
    *(NAME(numbers) *)out = best;
#if BLOCK == 8 && NUMBER_BYTES == 4  /* compilers take this one apart */
    typedef uint8_t all __attribute__((vector_size(32)));
    all narrow = (all)place;
    narrow = PICK(narrow, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28,
                  0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    memcpy(code, &narrow, 8);
#else
    *(NAME(bytes) *)code = __builtin_convertvector(place, NAME(bytes));
#endif
}

PART NAME(pool)(const BITS *in, int64_t row, int64_t c, BITS *restrict out,
                uint8_t *restrict code, int64_t count) {
    if (count == BLOCK) {
        NAME(pool_block)(in, row, c, out, code);
        return;
    }
    for (int64_t k = 0; k < count; k++) {
        const BITS rest[3] = { in[k + c], in[k + row], in[k + row + c] };
        NUMBER best = NAME(rectify)(in[k]), place = 0;
        for (NUMBER i = 0; i < 3; i++) {
            NUMBER value = NAME(rectify)(rest[i]);
            place = value > best ? i + 1 : place;
            best = value > best ? value : best;
        }
        out[k] = best;
        code[k] = best ? place : 4;
    }
}

PART NAME(spread)(const BITS *restrict gradient, const uint8_t *restrict code, BITS *restrict a,
                  BITS *restrict b, BITS *restrict d, BITS *restrict e, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        BITS value = gradient[k], place = code[k];
        a[k] = place == 0 ? value : 0;
        b[k] = place == 1 ? value : 0;
        d[k] = place == 2 ? value : 0;
        e[k] = place == 3 ? value : 0;
    }
}

/* calls DO(offset in, offset out, channels) for all pixels of the result, some channels at a time;
   the constant count is what makes a loop over few channels fit the registers */
#define EACH_PIXEL(DO, BLOCK)                                       \
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

void NAME(forward)(const BITS *in, BITS *out, uint8_t *code,
                   int64_t n, int64_t h, int64_t w, int64_t c) {
#define POOL(p, o, count) NAME(pool)(in + (p), row, c, out + (o), code + (o), count)
    EACH_PIXEL(POOL, BLOCK)
}

void NAME(backward)(const BITS *gradient, const uint8_t *code, BITS *in,
                    int64_t n, int64_t h, int64_t w, int64_t c) {
#define SPREAD(p, o, count) NAME(spread)(gradient + (o), code + (o), in + (p), in + (p) + c, \
                                         in + (p) + row, in + (p) + row + c, count)
    EACH_PIXEL(SPREAD, 16)
}

#undef BLOCK
#undef NUMBER_BYTES
#undef BITS
#undef NUMBER
#undef INFINITE
#undef NAME
"""
#: Bits of a number and those of infinity, by type.
_TYPES = {torch.bfloat16: (16, 0x7F80), torch.float32: (32, 0x7F800000)}


def fuse_pooling(model: nn.Module) -> nn.Module:
    """Have ``model`` pool by `PoolRelu` where it can: the same results, sooner.

    That is in each nn.Sequential of ``model`` where ReLU follows MaxPool2d(2); in place, and all
    names stay. Does nothing unless the model is on the CPU, in float32 or bfloat16, and there is a
    C compiler.
    """
    first = next(model.parameters(), None)
    if first is None or first.device.type != "cpu" or _kernels(first.dtype) is None:
        return model
    for part in model.modules():
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                if _halves(part[place]) and type(part[place + 1]) is nn.ReLU:
                    part[place], part[place + 1] = PoolRelu(), nn.Identity()
    return model


def _halves(layer: nn.Module) -> bool:
    """Whether ``layer`` is MaxPool2d over squares of 2, and nothing else."""
    if type(layer) is not nn.MaxPool2d or layer.ceil_mode or layer.return_indices:
        return False
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return sizes == (2, 2, 0, 1)


class PoolRelu(nn.Module):
    """relu(max_pool2d(x, 2)) by compiled kernels, forward and backward.

    Takes float32 or bfloat16 [n, c, h, w] on the CPU, gives [n, c, h // 2, w // 2] in channels_last
    order. The numbers are those of torch's operators, which leave the sign of a zero to chance.
    TypeError for another type, or without a compiler.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = _PoolRelu.apply(images)  # type: ignore[no-untyped-call]
        return pooled


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
        pooled, code = pool_relu(images)
        ctx.shape = images.shape
        ctx.save_for_backward(code)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (code,) = ctx.saved_tensors
        return spread_gradient(gradients[0].permute(0, 2, 3, 1).contiguous(), code, ctx.shape)


def pool_relu(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """relu(max_pool2d(images, 2)) and the codes of its values, uint8 [n, h // 2, w // 2, c].

    A code is 0 to 3 for the pixel of the square that is passed on, 4 where ReLU stops it.
    """
    pool = _kernels_for(images.dtype)[0]
    n, c, h, w = images.shape
    images = images.contiguous(memory_format=torch.channels_last)
    pooled = images.new_empty((n, h // 2, w // 2, c))
    code = torch.empty(pooled.shape, dtype=torch.uint8)
    pool(images.data_ptr(), pooled.data_ptr(), code.data_ptr(), n, h, w, c)
    return pooled.permute(0, 3, 1, 2), code


def spread_gradient(
    gradient: torch.Tensor, code: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    """The gradient of images of ``shape`` [n, c, h, w].

    ``gradient`` is that of `pool_relu`'s values, contiguous [n, h // 2, w // 2, c].
    """
    n, c, h, w = shape
    make = torch.zeros if h % 2 or w % 2 else torch.empty  # an odd side's last pixels get none
    images = make((n, h, w, c), dtype=gradient.dtype)
    spread = _kernels_for(gradient.dtype)[1]
    spread(gradient.data_ptr(), code.data_ptr(), images.data_ptr(), n, h, w, c)
    return images.permute(0, 3, 1, 2)


def _kernels_for(dtype: torch.dtype) -> tuple[Kernel, Kernel]:
    kernels = _kernels(dtype)
    if kernels is None:  # another type's would read beyond the end
        raise TypeError(f"PoolRelu has no kernel for {dtype}")
    return kernels


@functools.cache
def _kernels(dtype: torch.dtype) -> tuple[Kernel, Kernel] | None:
    """(forward, backward) for ``dtype``; None where there are none or they cannot be compiled."""
    if dtype not in _TYPES:
        return None
    loaded = library(program())
    if loaded is None:
        return None
    found = tuple(loaded[f"{name}{_TYPES[dtype][0]}"] for name in ("forward", "backward"))
    for function in found:
        function.argtypes = [c_void_p] * 3 + [c_int64] * 4
        function.restype = None
    return found[0], found[1]


def program() -> str:
    """All C source of this module."""
    return "".join(map(source, _TYPES))


def source(dtype: torch.dtype) -> str:
    """The C source for ``dtype``: functions named after it, such as pool_block32."""
    width, infinite = _TYPES[dtype]
    definitions = {
        "BLOCK": min(16, 8 * vector_bytes() // width),
        "NUMBER_BYTES": width // 8,
        "BITS": f"uint{width}_t",
        "NUMBER": f"int{width}_t",
        "INFINITE": infinite,
        "NAME(part)": f"part##{width}",
    }
    return "\n".join(f"#define {name} {value}" for name, value in definitions.items()) + _SOURCE
