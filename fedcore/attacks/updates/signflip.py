"""Sign flip: the client's own honest update, turned round and stretched.

As the "reverse" attack of Rajput et al., "DETOX", 2019, and the sign-flipping one of Li et al.,
"RSA: Byzantine-Robust Stochastic Aggregation Methods", 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.components.parameters import param
from fedcore.exchange.updates import signature_problems

if TYPE_CHECKING:
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

    def audit_problems(self, record: Record) -> list[str]:
        """Updates whose cosine with the honest ones is not -1, or whose length is another."""
        cosine = signature_problems(record, "cosine", -1.0)
        return [*cosine, *signature_problems(record, "ratio", self.stretch)]
