"""Which rows have the closest neighbours: Krum's scores, with the choice of exact arithmetic.

Float32 products are fast and, beside a large common part, wrong. So they come with a bound of
their error. Rows that it leaves in doubt are told apart by products of differences from the row
that seemed best: in float32 where that is cheap, which leaves near ties, and those in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from fedcore.native.gram import inner_products

_PIECE = 512  # coordinates a product
_BATCH = 64  # products that are added up in their own type; the rest is in float64
_TILE = 8  # columns of a product that the libraries' kernels compute at a time
_SLICE = 1 << 16  # coordinates of float32 differences, so that they stay in a cache
_CHUNK = 4096  # coordinates of a float64 copy, so that it stays in a cache


def least_scores(rows: torch.Tensor, neighbours: int, count: int) -> list[int]:
    """The ``count`` of ``rows`` [K, n] with the least scores, ascending; ties to the lowest row.

    A row's score is the sum of its ``neighbours`` least squared distances to other rows. Rows that
    are not finite are infinitely far from all.
    """
    own = torch.arange(len(rows), device=rows.device)
    low, high = bounds(rows)
    certain, beaten, best_row = _judged(low, high, neighbours, count)
    if int(certain.sum()) < count and (nearer := centred_bounds(rows, rows[best_row])) is not None:
        low, high = torch.maximum(low, nearer[0]), torch.minimum(high, nearer[1])
        certain, beaten, best_row = _judged(low, high, neighbours, count)
    chosen = own[certain].tolist()
    if len(chosen) < count:
        doubtful = own[~(certain | beaten)]
        exact = scores(squared_distances(rows, doubtful, rows[best_row]), doubtful, neighbours)
        best = torch.argsort(exact, stable=True)[: count - len(chosen)]
        chosen += doubtful[best].tolist()
    return sorted(chosen)


def _judged(
    low: torch.Tensor, high: torch.Tensor, neighbours: int, count: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Which rows are surely among the best ``count``, which surely not, and which seems best."""
    own = torch.arange(len(low), device=low.device)
    lowest, highest = scores(low, own, neighbours), scores(high, own, neighbours)
    certain = (lowest[None, :] <= highest[:, None]).sum(dim=1) <= count  # itself is one of these
    beaten = (highest[None, :] < lowest[:, None]).sum(dim=1) >= count
    # products of very long rows overflow; rows that are not finite have no finite lower bound
    best = torch.where(highest.isfinite().any(), highest, lowest)
    return certain, beaten, int(best.argmin())


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
    fast = _trusted(rows)
    kind = torch.finfo(rows.dtype if fast else torch.float64)
    compiled = inner_products(rows) if fast else None
    products, gamma = _gram(rows, kind) if compiled is None else compiled
    return _around(rows, products, gamma, kind)


def centred_bounds(
    rows: torch.Tensor, centre: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """As `bounds`, by differences from ``centre`` [n]: a part that all share widens them no more.

    A float32 difference x - c is off by at most u |x - c|, u = 2^-24, and so the distance of x and
    y by at most u (|x - c| + |y - c|), its square by 2 u + u^2 times the square of that sum. None
    where there is no kernel: torch's products would take as long as float64's.
    """
    if not _trusted(rows) or inner_products(rows[:, :0]) is None:
        return None
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    gamma, starts = 0.0, range(0, rows.shape[1], _SLICE)
    # once: new memory for each slice would cost as much as its products
    room = torch.empty(len(rows), min(_SLICE, rows.shape[1]))
    for start in starts:
        part = centre[start : start + _SLICE]
        gaps = room[:, : len(part)]
        torch.sub(rows[:, start : start + _SLICE], part, out=gaps)
        made = inner_products(gaps)
        assert made is not None
        products += made[0]
        gamma = max(gamma, made[1])
    gamma += 1.1 * (2 * 2**-24 + len(starts) * 2**-53)
    return _around(rows, products, gamma, torch.finfo(torch.float32))


def _trusted(rows: torch.Tensor) -> bool:
    """Whether products in the type of ``rows`` are what they seem.

    On a GPU, and where they may be rounded to TF32 or bfloat16, only those in float64 are.
    """
    return not rows.is_cuda and torch.get_float32_matmul_precision() == "highest"


def _around(
    rows: torch.Tensor, products: torch.Tensor, gamma: float, kind: torch.finfo
) -> tuple[torch.Tensor, torch.Tensor]:
    """The bounds of distances from ``products`` [K, K] that err by ``gamma`` |x| |y|."""
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


def nearest(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Which ``count`` of ``rows`` [K, n] are nearest to each row, itself first, [K, K] bool.

    The choice is that of float64; ties go to the lowest row. Rows whose length is not finite are
    near nobody, not even themselves: their lines and columns are False. Where fewer than ``count``
    are finite, all of these are near.
    """
    low, high = bounds(rows)
    finite = high.diagonal().isfinite()
    for row in (~finite).nonzero().flatten().tolist():  # or only too long for products of its type
        own = rows[row : row + 1]
        finite[row] = bool(lengths(own, torch.zeros_like(own[0])).isfinite())
    chosen = torch.zeros_like(low, dtype=torch.bool)
    own = finite.nonzero().flatten()
    count = min(count, len(own))
    if count == 0:
        return chosen
    low, high = (matrix[own][:, own].fill_diagonal_(-1.0) for matrix in (low, high))
    # how many may be as near as this one, and how many surely are nearer
    surely = torch.searchsorted(low.sort(dim=1).values, high, right=True) <= count
    beaten = torch.searchsorted(high.sort(dim=1).values, low) >= count
    doubtful = (~(surely | beaten)).any(dim=1).nonzero().flatten()
    if len(doubtful):
        middle = rows[own[high.sort(dim=1).values[:, :count].sum(dim=1).argmin()]]
        exact = squared_distances(rows, own[doubtful], middle)[:, own]
        exact.scatter_(1, doubtful[:, None], -1.0)
        best = torch.argsort(exact, dim=1, stable=True)[:, :count]
        surely[doubtful] = torch.zeros_like(surely[doubtful]).scatter_(1, best, True)
    chosen[own[:, None], own] = surely
    return chosen


def mixtures(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """``weights`` [R, K] times ``rows`` [K, n], [R, n] in the type of rows.

    Products that may be rounded more coarsely than their type (see `_trusted`) are in float64.
    """
    if _trusted(rows):
        return weights.to(rows) @ rows
    made = rows.new_empty(len(weights), rows.shape[1])
    shares = weights.to(rows.device, torch.float64)
    for start in range(0, rows.shape[1], 1 << 20):
        part = slice(start, start + (1 << 20))
        made[:, part] = (shares @ rows[:, part].double()).to(rows)
    return made


def cosines(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cosines of all pairs of ``rows`` [K] of [n] each, [K, K] float64 on the CPU.

    0 where a row is 0 or not finite. Products are those of float64.
    """
    if not len(rows):
        return torch.zeros(0, 0, dtype=torch.float64)
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows[0].device)
    width = 1 << 20 if rows[0].is_cuda else _CHUNK
    for start in range(0, len(rows[0]), width):
        wide = torch.stack([row[start : start + width] for row in rows]).double()
        products.addmm_(wide, wide.T)
    sizes = products.diagonal().sqrt()
    made = products / (sizes[:, None] * sizes[None, :])
    return made.nan_to_num_(0.0, 0.0, 0.0).clamp_(-1, 1).cpu()
