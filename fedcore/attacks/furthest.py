"""The two attacks of Shejwalkar and Houmansadr: as far from the mean as the benign ones are apart.

"Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
Learning", NDSS 2021. All malicious clients send mu + gamma p, with the greatest gamma
that a bound on squared distances admits. For a fixed p the bound is quadratic in gamma, so that the
greatest has a closed form. The authors search it, never above twice their start (10), and some
codes return the last step of such a search, whether it is admissible or not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import Seen, UpdateAttack
from fedcore.attacks.crafting import deviation, lonely, lonely_problems, mean, products
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


_SLACK = 1e-6  # of the mean's squared length


class Furthest(UpdateAttack):
    """Sends mu + gamma p of the updates that are seen; `gamma` is the greatest that is admitted.

    ``direction`` p is "unit": -mu / |mu|, "sign": -sign(mu), or "std": -sigma (divisor n; gamma
    does not depend on it). Where one update only is seen gamma is 0.
    """

    one_row = True
    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    direction: str = param(
        "where to, from the mean", default="std", choices=("unit", "sign", "std")
    )

    def problems(self, scenario: Scenario) -> list[str]:
        return lonely_problems(self, scenario)

    def sends_own(self, clients: int, malicious: int) -> bool:
        return lonely(self, clients, malicious)

    def craft(self, seen: Seen) -> torch.Tensor:
        rows, centre = seen.visible, mean(seen.visible)
        if self.direction == "std":
            towards = deviation(rows).neg_()
        elif self.direction == "sign":
            towards = centre.sign().neg_()
        else:
            length = torch.linalg.vector_norm(centre, dtype=torch.float64)
            towards = centre / -max(float(length), torch.finfo(centre.dtype).tiny)
        gamma = self.gamma(products(rows, centre, towards))
        return centre.add_(towards, alpha=gamma).expand_as(seen.own)

    @staticmethod
    @abstractmethod
    def gamma(gram: torch.Tensor) -> float:
        """The greatest gamma; ``gram`` [n + 1, n + 1] is of the rows less their mean, and of p."""

    @staticmethod
    @abstractmethod
    def bounded(sent: torch.Tensor, benign: torch.Tensor) -> tuple[float, float]:
        """What the bound holds down, and the bound.

        Of squared distances of what was ``sent`` [n] from the rows, and ``benign`` [n, n] among
        them.
        """

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Measure ``reach`` and ``aside``, and whether all sent the ``same`` row.

        ``reach`` is the square root of what is bounded over its bound, ``aside`` the sine of the
        angle between the shift from the mean and p.
        """
        count = len(sent.visible)

        def terms(piece: Piece) -> torch.Tensor:
            rows = piece.visible
            centre = rows.sum(dim=0) / count
            apart = [(rows - row).square().sum(dim=1) for row in (piece.row, *rows)]
            towards = -centre
            if self.direction == "sign":
                towards = -torch.sign(centre.to(sent.rows.dtype)).double()
            elif self.direction == "std":
                towards = -((rows - centre).square().sum(dim=0) / count).sqrt()
            gap = piece.row - centre
            rest = torch.stack((gap @ gap, gap @ towards, towards @ towards, centre @ centre))
            return torch.cat((rest, *apart))

        square, along, length, centre, *apart = sent.sums(terms).tolist()
        table = torch.tensor(apart, dtype=torch.float64).view(count + 1, count)
        value, bound = self.bounded(table[0], table[1:])
        slack = _SLACK * centre  # where updates are alike, rounding is all that is left of gaps
        aside = square if length <= 0 else max(square - max(along, 0.0) ** 2 / length, 0.0)
        return {
            "aside": off_by(aside, square + slack),
            "reach": off_by(value + slack, bound + slack) if length > 0 < bound + slack else 1.0,
            "same": sent.same,
        }

    def audit_problems(self, record: Record) -> list[str]:
        """Rows that go beyond the bound, not up to it, or elsewhere; rows that are not the same."""
        return [
            *measured_problems(record, "reach", 1 - 1e-4, 1 + 1e-4),
            *measured_problems(record, "aside", 0, 2e-4),
            *measured_problems(record, "same", 1, 1),
        ]
