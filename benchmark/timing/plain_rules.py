"""Definitions of robust rules in a few calls of torch: the yardstick of aggregation timings."""

from __future__ import annotations

import torch

#: The rules that are defined here.
PLAIN = ("median", "trimmedmean", "krum", "multikrum")


def plain(name: str, rows: torch.Tensor) -> torch.Tensor:
    """The step [P] of rule ``name``, one of `PLAIN`, for ``rows`` [clients, P].

    The median and the trimmed mean (a fifth of each side) sort the coordinates. Krum and Multi-Krum
    compare float64 distances with f = (clients - 3) // 2.
    """
    clients = len(rows)
    if name in ("median", "trimmedmean"):
        cut = (clients - 1) // 2 if name == "median" else clients // 5
        ordered = rows.T.sort(dim=1).values
        return ordered[:, cut : clients - cut].mean(dim=1)
    f = (clients - 3) // 2
    distances = torch.cdist(rows.double()[None], rows.double()[None])[0] ** 2
    nearest = distances.fill_diagonal_(torch.inf).sort(dim=1).values[:, : clients - f - 2]
    best = nearest.sum(dim=1).argsort()[: 1 if name == "krum" else clients - f]
    return rows[best].mean(dim=0)
