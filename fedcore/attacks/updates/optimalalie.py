"""Optimal ALIE: the z that moves the server's step furthest."""

from __future__ import annotations

import torch

from fedcore.attacks.attack import ATTACKS
from fedcore.attacks.crafting import deviation, mean
from fedcore.attacks.optimal import Optimal
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece


@ATTACKS.register("optimalalie", "ALIE with the z that the defence withstands least")
class OptimalAlie(Optimal):
    """Sends mu - z sigma, z searched on the defence that it faces: see `Optimal`.

    ALIE as of Baruch et al. 2019 (divisor n); the search as of the "optimal" attacks of Shejwalkar
    and Houmansadr, NDSS 2021, whose attackers know the rule, too.
    """

    least_strength: float = param("least z", default=0.1, low=0, open_low=True)
    greatest_strength: float = param("greatest z", default=10.0, low=0, open_low=True)

    @property
    def ends(self) -> tuple[float, float]:
        return self.least_strength, self.greatest_strength

    def line(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return mean(rows), -deviation(rows)

    def line_of(self, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
        rows = piece.visible
        centre = rows.sum(dim=0) / len(rows)
        return centre, -((rows - centre).square().sum(dim=0) / len(rows)).sqrt()
