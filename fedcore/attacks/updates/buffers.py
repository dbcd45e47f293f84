"""Buffers: parameters as trained, and BatchNorm's running statistics out of all proportion."""

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
    from fedcore.scenario import Scenario

_ROUNDING = 1e-5  # of the value, as a share: it travels as a difference


@ATTACKS.register("buffers", "BatchNorm's running statistics, parameters as trained")
class Buffers(UpdateAttack):
    """Every malicious client sends ``buffer_value`` in all float buffers, parameters as trained.

    A rule that looks at parameters takes such a client for an honest one. A running variance of
    1e30 silences a BatchNorm layer of the global model, one below 0 makes its output NaN; local
    training goes on unharmed, as it normalises by its own batch. Needs a model with float buffers,
    such as norm='batch'. A Byzantine client may send any vector (Blanchard et al. 2017).
    """

    touches = ("buffers",)
    buffer_value: float = param("what is sent in every float buffer", default=1e30)

    def craft(self, seen: Seen) -> torch.Tensor:
        """The honest parameters."""
        return seen.own

    def craft_buffers(self, own: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
        """``buffer_value`` minus the global buffers, [m, B]."""
        return torch.full_like(own, self.buffer_value) - model

    def problems(self, scenario: Scenario) -> list[str]:
        """A model without BatchNorm; a mechanism of privacy, which decides on buffers itself."""
        found = []
        if scenario.norm in ("none", "group"):
            found.append(
                f"attack 'buffers' changes BatchNorm's running statistics, got norm="
                f"{scenario.norm!r} for model {scenario.model!r}: set norm='batch'"
            )
        if scenario.privacy is not None:
            found.append(
                f"attack 'buffers' sends buffers, of which privacy={scenario.privacy!r} says what "
                "leaves a client: leave either out"
            )
        return found

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Read off how far the buffers are from ``buffer_value``, and what else is changed.

        ``off`` is the greatest distance over the sizes of value and global buffer, ``kept`` counts
        buffers that are as they were trained, ``changed`` parameters that are not.
        """
        assert sent.buffers is not None, "the log is given the model of the round"
        row = sent.buffers.rows[sent.position].double()
        own = sent.buffers.own[sent.position].double()
        model = sent.buffers.model.double()
        scale = (abs(self.buffer_value) + model.abs()).clamp(min=1e-30)

        def terms(piece: Piece) -> torch.Tensor:
            return (piece.row != piece.own[sent.position]).sum().double()[None]

        return {
            "off": float(((model + row - self.buffer_value).abs() / scale).max()),
            "kept": float(((row == own) & (model + own != self.buffer_value)).sum()),
            "changed": float(sent.sums(terms)),
        }

    def audit_problems(self, record: Record) -> list[str]:
        """Buffers that are another value, or as they were trained; parameters that are not."""
        return [
            *measured_problems(record, "off", 0, _ROUNDING),
            *measured_problems(record, "kept", 0, 0),
            *measured_problems(record, "changed", 0, 0),
        ]
