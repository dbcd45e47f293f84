"""Min-Sum: no further from the benign updates, in sum, than one of these is."""

from __future__ import annotations

import math

import torch

from fedcore.attacks.attack import ATTACKS
from fedcore.attacks.crafting import distances
from fedcore.attacks.furthest import Furthest


@ATTACKS.register("minsum", "no further in sum than a benign update (Shejwalkar et al. 2021)")
class MinSum(Furthest):
    """Sends mu + gamma p: the sum of squared distances to the u_i is that of one of these at most.

    gamma is the greatest with sum_i |mu + gamma p - u_i|^2 <= S = max_i sum_j |u_i - u_j|^2. As the
    gaps u_i - mu add up to 0, sum_i |mu + gamma p - u_i|^2 = n gamma^2 |p|^2 + sum_i |u_i -
    mu|^2, which gives gamma = sqrt((S - sum_i |u_i - mu|^2) / n) / |p|. Source: Shejwalkar,
    Houmansadr, "Manipulating the Byzantine", NDSS 2021, Min-Sum.
    """

    @staticmethod
    def gamma(gram: torch.Tensor) -> float:
        square, apart = float(gram[-1, -1]), distances(gram[:-1, :-1])
        if square <= 0:
            return 0.0
        room = float(apart.sum(dim=1).max() - gram.diagonal()[:-1].sum())
        return math.sqrt(max(room, 0.0) / (len(apart) * square))

    @staticmethod
    def bounded(sent: torch.Tensor, benign: torch.Tensor) -> tuple[float, float]:
        return float(sent.sum()), float(benign.sum(dim=1).max())
