"""Non-finite: an update of values that are no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record

_VALUES = {"nan": float("nan"), "inf": float("inf"), "neginf": float("-inf")}


@ATTACKS.register("nonfinite", "the update with NaN or infinity in it")
class NonFinite(UpdateAttack):
    """Every malicious client puts ``filler`` into a random ``spoiled_share`` of its update.

    At least one coordinate; the others stay as they were trained. A server that only averages is
    lost at once, so that this asks whether a rule survives at all. Coordinates are drawn anew for
    each client and round. A Byzantine client may send any vector (Blanchard et al. 2017); no other
    costs less.
    """

    breaks = True
    filler: str = param("what is sent", default="nan", choices=("nan", "inf", "neginf"))
    spoiled_share: float = param("coordinates with it", default=1.0, low=0, high=1, open_low=True)

    def craft(self, seen: Seen) -> torch.Tensor:
        sent, size = seen.own.clone(), seen.own.shape[1]
        count = max(1, int(self.spoiled_share * size))
        for row in sent:
            if count < size:
                order = torch.randperm(size, generator=seen.generator, device=row.device)
                row[order[:count]] = _VALUES[self.filler]
            else:
                row.fill_(_VALUES[self.filler])
        return sent

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Count values that are not finite, over the due number, and what else is changed.

        ``odd`` are other such values than ``filler``; ``changed`` are finite ones.
        """
        position = sent.position
        expected = torch.tensor(float(self.filler.replace("neg", "-")), dtype=torch.float64)

        def terms(piece: Piece) -> torch.Tensor:
            row, own = piece.row, piece.own[position]
            broken = ~row.isfinite()
            right = row.isnan() if bool(expected.isnan()) else row == expected.to(row)
            changed = (row != own) & ~broken
            return torch.stack((broken.sum(), (broken & ~right).sum(), changed.sum())).double()

        count, odd, changed = sent.sums(terms).tolist()
        due = max(1, int(self.spoiled_share * sent.rows.shape[1]))
        if sent.factor != 1:  # the rest is scaled
            changed = 0.0
        return {"count": count / due, "odd": odd, "changed": changed}

    def audit_problems(self, record: Record) -> list[str]:
        """Rows with more or fewer such values, or with others."""
        return [
            *measured_problems(record, "count", 1, 1),
            *measured_problems(record, "odd", 0, 0),
            *measured_problems(record, "changed", 0, 0),
        ]
