"""Sign flip: the client's own honest update, turned round and stretched.

As the "reverse" attack of Rajput et al., "DETOX", 2019, and the sign-flipping one of Li et al.,
"RSA: Byzantine-Robust Stochastic Aggregation Methods", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.components.parameters import param
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.exchange.sent import Sent
    from fedcore.records.record import Record


@ATTACKS.register("signflip", "sends the negative of its own update (Li et al. 2019)")
class SignFlip(UpdateAttack):
    """Every malicious client sends ``-stretch`` times its own honest update."""

    stretch: float = param(
        "length of what is sent over the honest", default=1.0, low=0, open_low=True
    )

    def craft(self, seen: Seen) -> torch.Tensor:
        """-stretch * own, [m, P]."""
        return -self.stretch * seen.own

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """``off``: how far the row is from -stretch times the own update, over its length."""
        return {"off": sent.off_own(-self.stretch)}

    def audit_problems(self, record: Record) -> list[str]:
        """Updates that are not -stretch times the honest ones."""
        return list(measured_problems(record, "off", 0, 1e-5, required=not self.breaks))
