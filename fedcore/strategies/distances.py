"""Which rows have the closest neighbours: Krum's scores, with the choice of exact arithmetic.

Float32 products are fast and, beside a large common part, wrong. So they come with a bound of
their error: where it leaves no doubt about the choice, that is the choice; where it does, the
products are made anew in float64, of differences from the row that seemed best.
"""

from __future__ import annotations

import torch

_PIECE = 512  # coordinates that are summed in the type of the products; pieces are in float64
_BATCH = 64  # pieces a call


def least_scores(rows: torch.Tensor, neighbours: int, count: int) -> list[int]:
    """The ``count`` of ``rows`` [K, n] with the least scores, ascending; ties to the lowest row.

    A row's score is the sum of its ``neighbours`` least squared distances to other rows. Rows that
    are not finite are infinitely far from all.
    """
    lowest, highest = (scores(d, neighbours) for d in bounds(rows))
    order = torch.argsort(highest, stable=True)
    chosen, rest = order[:count], order[count:]
    if len(rest) and not bool(highest[chosen].max() < lowest[rest].min()):
        exact = scores(squared_distances(rows, rows[order[0]]), neighbours)
        chosen = torch.argsort(exact, stable=True)[:count]
    return sorted(chosen.tolist())


def scores(distances: torch.Tensor, neighbours: int) -> torch.Tensor:
    """The sum of each row's ``neighbours`` least ``distances`` [K, K] to others, [K]."""
    others = distances.clone().fill_diagonal_(float("inf"))
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
    products = _gram(rows, kind.dtype)
    terms = min(_PIECE, rows.shape[1]) + 2
    gamma = 1.1 * (terms * kind.eps / 2 + rows.shape[1] / _PIECE * 2**-53)
    norms = products.diagonal()
    distances = norms[:, None] + norms[None, :] - 2 * products
    lengths = norms.sqrt()
    error = gamma * (lengths[:, None] + lengths[None, :]) ** 2 + 4 * rows.shape[1] * kind.tiny
    low = (distances - error).clamp_(min=0).nan_to_num_(nan=0.0, posinf=0.0)
    high = (distances + error).nan_to_num_(nan=float("inf"))
    for row in (~norms.isfinite()).nonzero().flatten().tolist():
        if not bool(rows[row].isfinite().all()):  # else a product was too large for its type
            for matrix in (low, high):
                matrix[row], matrix[:, row] = float("inf"), float("inf")
    return low, high


def _gram(rows: torch.Tensor, kind: str) -> torch.Tensor:
    """Inner products [K, K] float64 of ``rows`` [K, n], pieces of them made in type ``kind``."""
    dtype: torch.dtype = getattr(torch, kind)
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    whole = rows.shape[1] // _PIECE * _PIECE
    for start in range(0, whole, _PIECE * _BATCH):
        block = rows[:, start : min(start + _PIECE * _BATCH, whole)].to(dtype)
        pieces = block.view(len(rows), -1, _PIECE).transpose(0, 1)  # [pieces, K, _PIECE], no copy
        total += torch.bmm(pieces, pieces.mT).sum(dim=0, dtype=torch.float64)
    left = rows[:, whole:].to(dtype)
    return total.add_(left @ left.T)


def squared_distances(
    rows: torch.Tensor, centre: torch.Tensor, chunk: int = 1 << 15
) -> torch.Tensor:
    """Pairwise squared distances [K, K] float64 of ``rows`` [K, n], inf where not finite.

    Made of differences from ``centre`` [n]: a part that it and the rows share costs no digits.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for start in range(0, rows.shape[1], chunk):  # chunks bound the float64 copy
        part = slice(start, start + chunk)
        wide = rows[:, part].to(torch.float64) - centre[part].to(torch.float64)
        gram.addmm_(wide, wide.T)
    norms = gram.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp_(min=0)
    return distances.nan_to_num_(nan=float("inf"), posinf=float("inf"))
