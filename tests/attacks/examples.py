"""Attacks that tests add: one on local work, one that knows the benign updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import LocalWork, Seen, UpdateAttack, Work
from fedcore.components.parameters import param
from fedcore.exchange.updates import signature_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record


class Overtrain(LocalWork):
    """Malicious clients train ``factor`` times as many epochs."""

    factor: int = param("epochs over the honest ones", default=3, low=1)

    def changed(self, base: Work) -> Work:
        return Work(self.factor * base.epochs)


class Opposed(UpdateAttack):
    """Inner product manipulation (Xie et al. 2020): -eps times the mean of the visible updates."""

    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    eps: float = param("length over that of the mean", default=0.5, low=0, open_low=True)

    def craft(self, seen: Seen) -> torch.Tensor:
        return (-self.eps * seen.visible.mean(dim=0)).expand_as(seen.own)

    def audit_problems(self, record: Record) -> list[str]:
        if self.knows == "own":
            return []
        cosine = signature_problems(record, "benign_cosine", -1.0)
        return [*cosine, *signature_problems(record, "benign_ratio", self.eps)]
