"""An attack of somebody else that keeps what it sees in itself, not in the server's memory."""

from __future__ import annotations

import torch

from fedcore.attacks.attack import Seen
from fedcore.attacks.updates.signflip import SignFlip


class Hoarder(SignFlip):
    """Sign flips; counts its rounds in a dict of its own."""

    def craft(self, seen: Seen) -> torch.Tensor:
        """As sign flips, noting that it was asked."""
        known = self.__dict__.setdefault("_seen", [])
        known.append(len(known))
        return super().craft(seen)
