"""Which rows have the closest neighbours: Krum's scores, with the choice of exact arithmetic.

Float32 products are fast and, beside a large common part, wrong. So they come with a bound of
their error: rows that it leaves in doubt are scored anew in float64, by differences from the row
that seemed best.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fedcore.strategies.gram import inner_products

_PIECE = 512  # coordinates a product
_BATCH = 64  # products that are added up in their own type; the rest is in float64
_TILE = 8  # columns of a product that the libraries' kernels compute at a time
_CHUNK = 4096  # coordinates of a float64 copy, so that it stays in a cache


def least_scores(rows: torch.Tensor, neighbours: int, count: int) -> list[int]:
    """The ``count`` of ``rows`` [K, n] with the least scores, ascending; ties to the lowest row.

    A row's score is the sum of its ``neighbours`` least squared distances to other rows. Rows that
    are not finite are infinitely far from all.
    """
    own = torch.arange(len(rows), device=rows.device)
    lowest, highest = (scores(d, own, neighbours) for d in bounds(rows))
    certain = (lowest[None, :] <= highest[:, None]).sum(dim=1) <= count  # itself is one of these
    beaten = (highest[None, :] < lowest[:, None]).sum(dim=1) >= count
    chosen = own[certain].tolist()
    if len(chosen) < count:
        doubtful = own[~(certain | beaten)]
        exact = scores(
            squared_distances(rows, doubtful, rows[highest.argmin()]), doubtful, neighbours
        )
        best = torch.argsort(exact, stable=True)[: count - len(chosen)]
        chosen += doubtful[best].tolist()
    return sorted(chosen)


def scores(distances: torch.Tensor, own: torch.Tensor, neighbours: int) -> torch.Tensor:
    """The sums of the ``neighbours`` least ``distances`` [R, K] of rows ``own`` [R] to others."""
    others = distances.scatter(1, own[:, None], float("inf"))
    return others.sort(dim=1).values[:, :neighbours].sum(dim=1)


def bounds(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices [K, K] float64 between which the squared distances of ``rows`` [K, n] lie.

    An inner product of m terms errs by at most gamma_m |x| |y|, gamma_m = m u / (1 - m u), in any
    order of summation (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, eq. 3.5);
    what underflows adds at most the least normal number a term.
    """
    # on a GPU, and where matrix products may be rounded to TF32 or bfloat16, only float64 is exact
    fast = not rows.is_cuda and torch.get_float32_matmul_precision() == "highest"
    kind = torch.finfo(rows.dtype if fast else torch.float64)
    compiled = inner_products(rows) if fast else None
    products, gamma = _gram(rows, kind) if compiled is None else compiled
    norms = products.diagonal()
    distances = norms[:, None] + norms[None, :] - 2 * products
    lengths = norms.sqrt()
    # of what underflows: four products' terms, and more than the additions of parts of these
    lost = 5 * rows.shape[1] * kind.tiny
    error = gamma * (lengths[:, None] + lengths[None, :]) ** 2 + lost
    low = (distances - error).clamp_(min=0).nan_to_num_(nan=0.0, posinf=0.0)
    high = (distances + error).nan_to_num_(*[float("inf")] * 3)  # whatever is not finite
    for row in (~norms.isfinite()).nonzero().flatten().tolist():
        if not bool(rows[row].isfinite().all()):  # else a product was too large for its type
            for matrix in (low, high):
                matrix[row], matrix[:, row] = float("inf"), float("inf")
    return low, high


def _gram(rows: torch.Tensor, kind: torch.finfo) -> tuple[torch.Tensor, float]:
    """As `inner_products`, for all types and devices; pieces of them made in type ``kind``."""
    dtype: torch.dtype = getattr(torch, kind.dtype)
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    whole = rows.shape[1] // _PIECE * _PIECE
    # columns that fill no tile cost as much as one, and symmetry tells all but their last rows
    split = len(rows) // _TILE * _TILE
    for start in range(0, whole, _PIECE * _BATCH):
        block = rows[:, start : min(start + _PIECE * _BATCH, whole)].to(dtype)
        pieces = block.view(len(rows), -1, _PIECE).transpose(0, 1)  # [pieces, K, _PIECE], no copy
        first, last = pieces[:, :split], pieces[:, split:]
        total[:, :split] += torch.bmm(pieces, first.mT).sum(dim=0)
        total[split:, split:] += torch.bmm(last, last.mT).sum(dim=0)
    total[:split, split:] = total[split:, :split].T
    left = rows[:, whole:].to(dtype)
    terms = min(_PIECE, rows.shape[1]) + _BATCH + 2
    gamma = 1.1 * (terms * kind.eps / 2 + rows.shape[1] / _PIECE * 2**-53)
    return total.add_(left @ left.T), gamma


def squared_distances(rows: torch.Tensor, own: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Squared distances [R, K] float64 of rows ``own`` [R] of ``rows`` [K, n] to all of these.

    Made of differences from ``centre`` [n]: a part that it and the rows share costs no digits.
    What is not finite is infinitely far.
    """
    products = torch.zeros(len(own), len(rows), dtype=torch.float64, device=rows.device)
    norms = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for wide in _differences(rows, centre):
        products.addmm_(wide[own], wide.T)
        norms += torch.linalg.vector_norm(wide, dim=1).square_()
    distances = (norms[own, None] + norms[None, :] - 2 * products).clamp_(min=0)
    return distances.nan_to_num_(nan=float("inf"), posinf=float("inf"))


def lengths(rows: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
    """Distances [K] float64 of ``rows`` [K, n] from ``origin`` [n], inf where not finite."""
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for wide in _differences(rows, origin):
        squares += torch.linalg.vector_norm(wide, dim=1).square_()
    return squares.sqrt_().nan_to_num_(nan=float("inf"), posinf=float("inf"))


def _differences(rows: torch.Tensor, origin: torch.Tensor) -> Iterator[torch.Tensor]:
    """``rows`` [K, n] minus ``origin`` [n] in float64, in chunks of coordinates."""
    width = 1 << 20 if rows.is_cuda else _CHUNK
    for start in range(0, rows.shape[1], width):
        part = slice(start, start + width)
        # a new tensor also where rows are float64: sub_ must not write to them
        wide = rows[:, part].to(torch.float64, copy=True)
        yield wide.sub_(origin[part])
