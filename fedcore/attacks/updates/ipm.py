"""IPM: inner product manipulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.attacks.crafting import mean
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record


@ATTACKS.register("ipm", "-eps times the mean of the others' updates (Xie et al. 2020)")
class Ipm(UpdateAttack):
    """All malicious clients send -``eps`` * mu, mu the unweighted mean of the updates they see.

    The paper's attackers know the benign updates; ``knows="own"`` estimates mu from their own.
    A small eps (0.1) hides from Krum, one >= 1 breaks medians. Of K clients with m malicious ones
    the plain average turns round at eps > (K - m) / m. Source: Xie, Koyejo, Gupta, "Fall of
    Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation", UAI 2019.
    """

    one_row = True
    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    eps: float = param("length over that of the mean", default=0.5, low=0, open_low=True)

    def craft(self, seen: Seen) -> torch.Tensor:
        return (-self.eps * mean(seen.visible)).expand_as(seen.own)

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """``eps`` as it was sent; ``off``, how far the row is from -eps mu, over its length."""

        def terms(piece: Piece) -> torch.Tensor:
            centre = piece.visible.sum(dim=0) / len(piece.visible)
            gap = piece.row + self.eps * centre
            return torch.stack((gap @ gap, piece.row @ centre, centre @ centre))

        gap, along, square = sent.sums(terms).tolist()
        eps = -along / square if square > 0 else self.eps
        return {"eps": eps, "off": off_by(gap, self.eps**2 * square), "same": sent.same}

    def audit_problems(self, record: Record) -> list[str]:
        """Rows that are not -eps times the mean of what was seen, or not the same for all."""
        least, most = (1 - 1e-4) * self.eps, (1 + 1e-4) * self.eps
        return [
            *measured_problems(record, "eps", least, most),
            *measured_problems(record, "off", 0, 1e-4),
            *measured_problems(record, "same", 1, 1),
        ]
