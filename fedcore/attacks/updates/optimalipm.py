"""Optimal IPM: the eps that moves the server's step furthest."""

from __future__ import annotations

import torch

from fedcore.attacks.attack import ATTACKS
from fedcore.attacks.crafting import mean
from fedcore.attacks.optimal import Optimal
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece


@ATTACKS.register("optimalipm", "IPM with the eps that the defence withstands least")
class OptimalIpm(Optimal):
    """Sends -eps mu, eps searched on the defence that it faces: see `Optimal`.

    IPM as of Xie et al. 2019; the search as of the "optimal" attacks of Shejwalkar and Houmansadr,
    NDSS 2021, whose attackers know the rule, too.
    """

    least_strength: float = param("least eps", default=0.1, low=0, open_low=True)
    greatest_strength: float = param("greatest eps", default=10.0, low=0, open_low=True)

    @property
    def ends(self) -> tuple[float, float]:
        return self.least_strength, self.greatest_strength

    def line(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        centre = mean(rows)
        return torch.zeros_like(centre), -centre

    def line_of(self, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
        rows = piece.visible
        return torch.zeros_like(piece.row), -rows.sum(dim=0) / len(rows)
