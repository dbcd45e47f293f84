"""Inner products of all pairs of float32 rows by a compiled kernel: each pair once, each row once.

A matrix product computes both halves of a symmetric result, and in pieces too long for a tight
bound of the error. Here a piece is short, so that few rows are left in doubt (see distances.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from ctypes import c_int64, c_void_p, memset
from dataclasses import dataclass

import torch

from fedcore.native.compiler import in_threads, library, vector_bytes

Kernel = Callable[..., None]

_SEGMENT = 1 << 16  # coordinates a thread takes at a time: the same for any number of threads
_PIECES = 8  # whose sums stay in float32: more of them widen the bound, fewer cost time

_SOURCE = r"""
#include <stdint.h>
#include <string.h>

/* A panel is SIDE rows of a piece of STEPS * LANES coordinates, LANES of each row in turn. A tile
   is the products of a panel with a panel: SIDE * SIDE sums of vectors that stay in registers while
   both panels pass by, the first from the first-level cache, where it stays. To add up the numbers
   of a vector takes long, so that it waits until the sums of PIECES pieces are together. */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float half __attribute__((vector_size(2 * LANES)));
typedef float four __attribute__((vector_size(16)));
typedef int32_t places __attribute__((vector_size(16)));
typedef double sums __attribute__((vector_size(32)));

#define PART static inline __attribute__((always_inline))
#define GROUPS ((SIDE * SIDE + 3) / 4)  /* of four products, the last one's rest is 0 */
#define ROOM (4 * GROUPS)               /* vectors of a tile */
#define PANEL (SIDE * STEPS)            /* vectors */
#define PLACE(row) ((row) / SIDE * PANEL + (row) % SIDE)
#define SHARE(rows, t) ((rows) + (t) / SHARES * stride + (t) % SHARES * (STEPS * LANES / SHARES))
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (places){__VA_ARGS__})
#endif

PART four folded(vec v) {
    half halves[2];
    four fours[LANES / 8];
    memcpy(halves, &v, sizeof v);
    halves[0] += halves[1];
    memcpy(fours, halves, sizeof fours);
    return LANES > 8 ? fours[0] + fours[LANES / 8 - 1] : fours[0];
}

/* Adds the products of panels a and b to kept. On the diagonal, where a is b, only those of a row
   with itself and with later ones are made. On the way a share of a row of the next piece, which
   was prefetched, is copied to its panel, and a further one is prefetched: memory keeps pace. */
PART void tile(const vec *a, const vec *b, int diagonal, vec *kept,
               const char *from, vec *to, const char *ahead) {
    vec sum[SIDE * SIDE] = {{0}};
    for (int64_t k = 0; k < STEPS / SHARES; k++, to += SIDE) {
        vec copy;
        memcpy(&copy, from + k * sizeof copy, sizeof copy);
        *to = copy;
        __builtin_prefetch(ahead + k * sizeof copy);
#pragma GCC unroll 8
        for (int s = 0; s < SHARES; s++, a += SIDE, b += SIDE)
#pragma GCC unroll 8
            for (int j = 0; j < SIDE; j++) {
                vec other = b[j];
#pragma GCC unroll 8
                for (int i = 0; i < SIDE; i++)
                    if (!diagonal || i <= j)
                        sum[i * SIDE + j] += a[i] * other;
            }
    }
#pragma GCC unroll 32
    for (int n = 0; n < SIDE * SIDE; n++)
        kept[n] += sum[n];
}

/* Adds the sums of all tiles to out, each as one number, and begins new ones. */
static void settle(vec *kept, int64_t tiles, sums *out) {
    for (; tiles; tiles--, kept += ROOM, out += GROUPS) {
#pragma GCC unroll 8
        for (int g = 0; g < GROUPS; g++) {
            four p = folded(kept[4 * g]), q = folded(kept[4 * g + 1]);
            four r = folded(kept[4 * g + 2]), s = folded(kept[4 * g + 3]);
            p = PICK(p, q, 0, 4, 1, 5) + PICK(p, q, 2, 6, 3, 7);
            r = PICK(r, s, 0, 4, 1, 5) + PICK(r, s, 2, 6, 3, 7);
            p = PICK(p, r, 0, 1, 4, 5) + PICK(p, r, 2, 3, 6, 7);
            out[g] += __builtin_convertvector(p, sums);
        }
        memset(kept, 0, ROOM * sizeof *kept);
    }
}

/* Copies count numbers to their place in a panel, zeros behind them. */
PART void fill(const float *from, int64_t count, vec *to) {
    for (int64_t k = 0; k < STEPS; k++, count -= LANES, from += LANES, to += SIDE)
        if (count >= LANES) {
            memcpy(to, from, sizeof *to);
        } else {
            vec rest = {0};
            if (count > 0)
                memcpy(&rest, from, count * sizeof *from);
            else
                from -= LANES;
            *to = rest;
        }
}

/* Adds to out [tiles][ROOM] the products of the rows, k of n numbers that lie stride apart;
   tiles of panels i <= j in order of i, then j. work: zeros, tiles * ROOM vectors of room and 2 *
   panels + 1 panels; the former are zeros again in the end. */
void gram(const float *rows, int64_t stride, int64_t k, int64_t n, vec *work, sums *out) {
    const int64_t width = STEPS * LANES, panels = (k + SIDE - 1) / SIDE;
    const int64_t tiles = panels * (panels + 1) / 2;
    /* a spare one in between: caches tell places a multiple of 4096 bytes apart badly */
    vec *kept = work, *now = kept + tiles * ROOM;
    vec *spare = now + panels * PANEL, *next = spare + PANEL;
    for (int64_t row = 0; row < k; row++)
        fill(rows + row * stride, n, now + PLACE(row));
    for (int64_t piece = 1; n > 0; n -= width, rows += width, piece++) {
        const float *later = rows + width;
        const int64_t left = n - width, copied = left >= width ? SHARES * k : 0;
        int64_t t = 0;
        for (int64_t i = 0; i < panels; i++)
            for (int64_t j = i; j < panels; j++, t++) {
                const char *from = (const char *)spare, *ahead = from;
                vec *to = spare;
                if (t < copied) {
                    from = (const char *)SHARE(later, t);
                    to = next + PLACE(t / SHARES) + t % SHARES * (PANEL / SHARES);
                }
                if (t + SHARES < copied)
                    ahead = (const char *)SHARE(later, t + SHARES);
                else if (t < copied && left >= 2 * width)
                    ahead = (const char *)SHARE(later + width, t + SHARES - copied);
                if (i == j)
                    tile(now + i * PANEL, now + j * PANEL, 1, kept + t * ROOM, from, to, ahead);
                else
                    tile(now + i * PANEL, now + j * PANEL, 0, kept + t * ROOM, from, to, ahead);
            }
        for (int64_t row = (t < copied ? t : copied) / SHARES; left > 0 && row < k; row++)
            fill(later + row * stride, left, next + PLACE(row));
        if (piece % PIECES == 0 || left <= 0)
            settle(kept, tiles, out);
        vec *done = now;
        now = next;
        next = done;
    }
}
"""


@dataclass(frozen=True)
class _Shape:
    """Of the kernel: numbers a vector, rows a panel (as registers allow), vectors of a row.

    A row is copied in ``shares``, one a tile: as many as make the tiles of 50 rows suffice.
    """

    lanes: int
    side: int
    steps: int
    shares: int

    @property
    def roundings(self) -> int:
        """How many of float32 a product goes through: its own and its lane's, pieces', lanes'."""
        return self.steps + _PIECES + self.lanes.bit_length() - 1

    @property
    def width(self) -> int:
        """Coordinates of a piece."""
        return self.lanes * self.steps


#: By the bytes of a processor's vectors: 25 sums in 32 registers, 9 in 16.
_SHAPES = {
    64: _Shape(lanes=16, side=5, steps=32, shares=1),
    32: _Shape(lanes=8, side=3, steps=48, shares=2),
}


def inner_products(rows: torch.Tensor) -> tuple[torch.Tensor, float] | None:
    """Inner products [K, K] float64 of ``rows`` [K, n], float32 on the CPU; and their error bound.

    The second number times |x| |y| is the most that the product of x and y errs by, but for
    underflow, which adds at most the least normal number a term. The bits do not depend on the
    number of threads. None for another type or device, or where there is no kernel: it needs a
    compiler, and a processor that has AVX2 or AVX-512.
    """
    found = _kernel() if rows.dtype == torch.float32 and rows.device.type == "cpu" else None
    if found is None:
        return None
    kernel, shape = found
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    clients, size = rows.shape
    panels = -(-clients // shape.side)
    starts = range(0, size, _SEGMENT)
    room = -(-(shape.side**2) // 4) * 4
    tiles = panels * (panels + 1) // 2
    made = _zeros(torch.float64, len(starts), tiles, room)
    threads = min(torch.get_num_threads(), len(starts))
    panel = shape.side * shape.width
    space = _zeros(torch.float32, threads, tiles * room * shape.lanes + (2 * panels + 1) * panel)

    def work(thread: int, part: int) -> None:
        first, count = rows.data_ptr() + 4 * starts[part], min(_SEGMENT, size - starts[part])
        into, own = made[part].data_ptr(), space[thread].data_ptr()
        kernel(first, rows.stride(0), clients, count, own, into)

    in_threads(work, range(len(starts)), threads)
    total = made.cumsum(dim=0)[-1] if len(starts) else made.sum(dim=0)
    # What the compiler fuses is rounded less often, never more. x_i y_i takes part in at most
    # m = ``roundings`` results in float32, so it enters the sum of _PIECES pieces with a relative
    # error of at most gamma_m = m u / (1 - m u), u = 2^-24; then in one addition for each such sum
    # of its segment and one for each segment, u = 2^-53. Added up over i that is at most
    # gamma |x| |y|, as sum |x_i y_i| <= |x| |y|. 1.1 covers the denominators and the products of
    # both errors.
    additions = _SEGMENT / (shape.width * _PIECES) + 1 + len(starts)
    gamma = 1.1 * (shape.roundings * 2**-24 + additions * 2**-53)
    return _matrix(total, shape.side, clients), gamma


def _zeros(kind: torch.dtype, *shape: int) -> torch.Tensor:
    """Zeros written without torch, whose threads would spin for a while, in the way of ours."""
    made = torch.empty(shape, dtype=kind)
    memset(made.data_ptr(), 0, made.nbytes)
    return made


def _matrix(tiles: torch.Tensor, side: int, clients: int) -> torch.Tensor:
    """[K, K] of ``tiles`` [T, >= side^2], those of the upper triangle, row by row."""
    panels = -(-clients // side)
    matrix = tiles.new_zeros(panels, side, panels, side)
    one, other = torch.triu_indices(panels, panels)
    matrix[one, :, other] = tiles[:, : side * side].view(-1, side, side)
    upper = matrix.view(panels * side, -1)[:clients, :clients]  # what lies below is 0
    whole = upper + upper.T
    whole.diagonal().copy_(upper.diagonal())
    return whole


@functools.cache
def _kernel() -> tuple[Kernel, _Shape] | None:
    """The function and its shape for this processor; None where there is none."""
    shape, source = _SHAPES.get(vector_bytes()), program()
    loaded = None if source is None else library(source)
    if shape is None or loaded is None:
        return None
    function = loaded["gram"]
    function.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p]
    function.restype = None
    return function, shape


def program() -> str | None:
    """The C source for this processor; None where there is none."""
    shape = _SHAPES.get(vector_bytes())
    if shape is None:
        return None
    values = {
        "LANES": shape.lanes,
        "SIDE": shape.side,
        "STEPS": shape.steps,
        "SHARES": shape.shares,
        "PIECES": _PIECES,
    }
    return "".join(f"#define {k} {v}\n" for k, v in values.items()) + _SOURCE
