"""Inner products of all pairs of float32 rows by a compiled kernel: each pair once, each row once.

A matrix product computes both halves of a symmetric result, and in pieces too long for a tight
bound of the error. Here a piece is short, so that few rows are left in doubt (see distances.py).
"""

from __future__ import annotations

from ctypes import memset
from dataclasses import dataclass

import torch

from fedcore.native.compiler import Target, target
from fedcore.native.functions import CFile
from fedcore.native.threads import in_threads

SEGMENT = 1 << 16  # coordinates a thread takes at a time: the same for any number of threads
_PIECES = 8  # whose sums stay in float32: more of them widen the bound, fewer cost time


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


def _definitions(here: Target) -> dict[str, int] | None:
    shape = _SHAPES.get(here.vector)
    if shape is None:
        return None
    sizes = {"SIDE": shape.side, "STEPS": shape.steps, "SHARES": shape.shares}
    return {"LANES": shape.lanes, **sizes, "PIECES": _PIECES}


FILE = CFile("gram", {"gram": "piiipp"}, _definitions)


def inner_products(rows: torch.Tensor, segment: int = SEGMENT) -> tuple[torch.Tensor, float] | None:
    """Inner products [K, K] float64 of ``rows`` [K, n], float32 on the CPU; and their error bound.

    The second number times |x| |y| is the most that the product of x and y errs by, but for
    underflow, which adds at most the least normal number a term. The bits do not depend on the
    number of threads. None for another type or device, or where there is no kernel: it needs a
    compiler, and a processor that has AVX2 or AVX-512. A thread takes ``segment`` coordinates at a
    time, of which the last bits depend.
    """
    usable = rows.dtype == torch.float32 and rows.device.type == "cpu"
    functions = FILE.functions() if usable else None
    if functions is None:
        return None
    kernel, shape = functions["gram"], _SHAPES[target().vector]
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    clients, size = rows.shape
    panels = -(-clients // shape.side)
    starts = range(0, size, segment)
    room = -(-(shape.side**2) // 4) * 4
    tiles = panels * (panels + 1) // 2
    made = _zeros(torch.float64, len(starts), tiles, room)
    threads = min(torch.get_num_threads(), len(starts))
    panel = shape.side * shape.width
    space = _zeros(torch.float32, threads, tiles * room * shape.lanes + (2 * panels + 1) * panel)

    def work(thread: int, part: int) -> None:
        first, count = rows.data_ptr() + 4 * starts[part], min(segment, size - starts[part])
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
    additions = segment / (shape.width * _PIECES) + 1 + len(starts)
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
