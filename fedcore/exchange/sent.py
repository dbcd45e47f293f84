"""One row of a round as it was sent, beside all that its sender knew, for the audit of attacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import torch

_CHUNK: Final = 1 << 18  # coordinates in float64 at once


@dataclass(frozen=True)
class Piece:
    """The same coordinates of all rows in float64: ``row`` [s], the others [., s].

    ``model`` [s] are the global parameters that everybody trained from.
    """

    sent: Sent
    span: slice

    @cached_property
    def row(self) -> torch.Tensor:
        return self.sent.row[self.span].double() / self.sent.factor

    @cached_property
    def own(self) -> torch.Tensor:
        return self.sent.own[:, self.span].double()

    @cached_property
    def benign(self) -> torch.Tensor:
        return self.sent.benign[:, self.span].double()

    @property
    def visible(self) -> torch.Tensor:
        return self.benign if self.sent.sees_benign else self.own

    @cached_property
    def model(self) -> torch.Tensor:
        assert self.sent.model is not None, "the log is given the model of the round"
        return self.sent.model[self.span].double()


@dataclass(frozen=True)
class SentBuffers:
    """Float buffers of the malicious clients of a round: ``rows`` as sent, ``own`` as trained.

    Both [m, B] are changes of ``model`` [B], the global ones.
    """

    rows: torch.Tensor
    own: torch.Tensor
    model: torch.Tensor


@dataclass(frozen=True)
class Sent:
    """What malicious client number ``position`` of the round sent: row ``position`` of ``rows``.

    ``rows`` [m, P] are those of all malicious clients of the round, ``own`` [m, P] what they had
    trained, ``benign`` [K - m, P] what ``others`` had. ``knows`` is that of the attack. ``tried``
    gives the step that the server would make of rows [m, P] in their place. ``kept`` lasts for the
    run. Rows are divided by ``factor`` before they are measured. ``buffers`` are what was sent of
    float buffers beside the parameters.
    """

    rows: torch.Tensor
    own: torch.Tensor
    benign: torch.Tensor
    knows: str
    position: int
    round: int
    others: tuple[int, ...]
    model: torch.Tensor | None = None
    tried: Callable[[torch.Tensor], torch.Tensor] | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    factor: float = 1.0
    buffers: SentBuffers | None = None

    @property
    def row(self) -> torch.Tensor:
        """What was sent, [P]."""
        return self.rows[self.position]

    @property
    def malicious(self) -> int:
        """M, the malicious clients of the round."""
        return len(self.own)

    @property
    def clients(self) -> int:
        """K, all clients of the round."""
        return len(self.own) + len(self.benign)

    @property
    def sees_benign(self) -> bool:
        """Whether `visible` are the benign updates: attackers among themselves see their own."""
        return self.knows == "benign" and len(self.benign) > 0

    @property
    def visible(self) -> torch.Tensor:
        """The updates that the attackers see."""
        return self.benign if self.sees_benign else self.own

    def over(self, factor: float) -> Sent:
        """This, with rows that are divided by ``factor`` before they are measured."""
        return replace(self, factor=factor)

    def sums(self, terms: Callable[[Piece], torch.Tensor]) -> torch.Tensor:
        """The sum of ``terms`` over pieces of all coordinates, float64 on the CPU.

        No more than a piece is held in float64.
        """
        total: torch.Tensor | None = None
        for start in range(0, self.rows.shape[1], _CHUNK):
            part = terms(Piece(self, slice(start, start + _CHUNK)))
            total = part if total is None else total + part
        assert total is not None, "a model has parameters"
        return total.cpu()

    def off_own(self, factor: float) -> float:
        """How far the row is from ``factor`` times its sender's own, over the length of that."""

        def terms(piece: Piece) -> torch.Tensor:
            due = factor * piece.own[self.position]
            gap = piece.row - due
            return torch.stack((gap @ gap, due @ due))

        return off_by(*self.sums(terms).tolist())

    @property
    def same(self) -> float:
        """1 where all malicious clients of the round sent this row bit for bit, else 0."""
        return float(all(same_bits(row, self.row) for row in self.rows))


def off_by(gap: float, scale: float) -> float:
    """How far apart two rows are, from squared lengths: ``gap`` over ``scale``, whose 0 is 1."""
    return math.sqrt(gap / scale) if scale > 0 else math.sqrt(gap)


def calm(rows: torch.Tensor) -> bool:
    """Whether ``rows`` are finite, and so short that their squares are, too."""
    least, greatest = torch.aminmax(rows)  # NaN if any value is
    most = math.sqrt(torch.finfo(rows.dtype).max)
    return bool(-most < least) and bool(greatest < most)


def mean_of_rows(rows: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
    """The mean of the ``chosen`` ones of ``rows`` [K, P], [P] in float64."""
    total = rows[chosen[0]].to(torch.float64, copy=True)
    for row in chosen[1:]:
        total += rows[row]
    return total / len(chosen)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two rows are equal bit for bit, whatever their numbers are."""
    return torch.equal(*(row.contiguous().view(torch.uint8) for row in (one, other)))
