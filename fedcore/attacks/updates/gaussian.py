"""Gaussian: noise in the place of the update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

_SD = 200.0
_SIGMAS = 7  # standard errors that a sum of random numbers may be off by


@ATTACKS.register("gaussian", "noise in place of the update (Blanchard et al. 2017)")
class Gaussian(UpdateAttack):
    """Every malicious client sends a row of its own from N(0, s^2), in place of its update.

    ``sd`` is s, by default the paper's 200, which takes any plain average at once. With
    ``relative_length`` the same noise is drawn out to that many times the mean length of the
    updates that the attackers see, ``knows``; a row then has exactly this length, whatever the
    model's size.
    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries", NeurIPS
    2017, the Gaussian attack of its experiments.
    """

    knows: str = param(
        "whose lengths relative_length refers to", default="own", choices=("own", "benign")
    )
    sd: float = param("standard deviation of a coordinate", default=_SD, low=0, open_low=True)
    relative_length: float | None = param(
        "length over the mean one of the updates that are seen; None: sd counts",
        default=None,
        low=0,
        open_low=True,
    )

    def problems(self, scenario: Scenario) -> list[str]:
        """A parameter that another one makes idle."""
        if self.relative_length is not None and self.sd != _SD:
            return [
                f"gaussian has relative_length={self.relative_length:g}, so that sd={self.sd:g} is "
                "not read: leave one of them out"
            ]
        if self.relative_length is None and self.knows != "own":
            return [
                f"gaussian with sd looks at no update, so that knows={self.knows!r} is not read: "
                "leave it out, or set relative_length"
            ]
        return []

    def craft(self, seen: Seen) -> torch.Tensor:
        own = seen.own
        noise = torch.randn(own.shape, generator=seen.generator, dtype=own.dtype, device=own.device)
        if self.relative_length is None:
            return noise.mul_(self.sd)
        lengths = torch.linalg.vector_norm(seen.visible, dim=1, dtype=torch.float64)
        drawn = torch.linalg.vector_norm(noise, dim=1, dtype=torch.float64)
        factors = self.relative_length * lengths.mean() / drawn
        return noise.mul_(factors[:, None].to(noise))

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """``sd`` or ``relative_length`` sent, ``cosine`` with the own update and its ``error``."""
        position, size = sent.position, sent.rows.shape[1]

        def terms(piece: Piece) -> torch.Tensor:
            row, own = piece.row, piece.own[position]
            squares = piece.visible.square().sum(dim=1)
            return torch.cat((torch.stack((row @ row, row @ own, own @ own)), squares))

        square, along, own, *seen = sent.sums(terms).tolist()
        mean = sum(map(math.sqrt, seen)) / len(seen)
        shown = {
            "error": 1 / math.sqrt(size),
            "cosine": along / math.sqrt(square * own) if square * own > 0 else 0.0,
            "same": float(sent.same and sent.malicious > 1),
        }
        if self.relative_length is None:
            return {**shown, "sd": math.sqrt(square / size)}
        return {**shown, "relative": math.sqrt(square) / mean if mean > 0 else self.relative_length}

    def audit_problems(self, record: Record) -> list[str]:
        """Rows of another length, rows that lean to the honest update, rows sent twice."""
        errors = [dict(each.measured).get("error", (0.0, 0.0))[1] for each in record.audit.updates]
        most = _SIGMAS * max(errors, default=0.0)
        problems = [
            *measured_problems(record, "cosine", -most, most, required=not self.breaks),
            *measured_problems(record, "same", 0, 0),
        ]
        if self.relative_length is not None:
            least, greatest = (1 - 1e-4) * self.relative_length, (1 + 1e-4) * self.relative_length
            return [*problems, *measured_problems(record, "relative", least, greatest)]
        off = most / math.sqrt(2) * self.sd
        low, high, required = self.sd - off, self.sd + off, not self.breaks
        return [*problems, *measured_problems(record, "sd", low, high, required=required)]
