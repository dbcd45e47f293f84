"""Min-Max: as far from every benign update as these are from each other."""

from __future__ import annotations

import torch

from fedcore.attacks.attack import ATTACKS
from fedcore.attacks.crafting import distances
from fedcore.attacks.furthest import Furthest


@ATTACKS.register("minmax", "no further than benign updates are apart (Shejwalkar et al. 2021)")
class MinMax(Furthest):
    """Sends mu + gamma p: no squared distance to a benign u_i exceeds the greatest among these.

    gamma is the greatest with max_i |mu + gamma p - u_i|^2 <= D^2 = max_ij |u_i - u_j|^2. That is
    the least over i of the larger root of |mu + gamma p - u_i|^2 = D^2; gamma = 0 is admissible, as
    the mean lies among the u_i. Source: Shejwalkar, Houmansadr, "Manipulating the Byzantine", NDSS
    2021, Min-Max.
    """

    @staticmethod
    def gamma(gram: torch.Tensor) -> float:
        square, along = float(gram[-1, -1]), gram[-1, :-1]
        apart = distances(gram[:-1, :-1])
        if square <= 0:
            return 0.0
        room = (apart.max() - gram.diagonal()[:-1]).clamp(min=0)
        # |gamma p - g|^2 = D^2 of a gap g has the larger root
        # gamma = (p g + sqrt((p g)^2 + |p|^2 (D^2 - |g|^2))) / |p|^2
        roots = (along + (along.square() + square * room).sqrt()) / square
        return float(roots.min().clamp(min=0))

    @staticmethod
    def bounded(sent: torch.Tensor, benign: torch.Tensor) -> tuple[float, float]:
        return float(sent.max()), float(benign.max())
