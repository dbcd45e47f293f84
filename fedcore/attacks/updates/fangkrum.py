"""Fang's attack on Krum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.attacks.crafting import distances, mean, products
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record

_LEAST = 1e-5  # the paper's threshold of lambda
_TIED = 1e-12  # of the greatest squared length: scores that are the same but for rounding


@ATTACKS.register("fangkrum", "the update that Krum takes, against the trend (Fang et al. 2020)")
class FangKrum(UpdateAttack):
    """One malicious client sends -lambda s, the others what lies within ``epsilon`` of it.

    s is the sign of the update that Krum takes of the honest ones. lambda starts at the paper's
    bound, sqrt(min_i sum of the n - m - 2 least |u_l - u_i|^2 / (d max(1, n - 2 m - 1))) + max_i
    |u_i| / sqrt(d) over the benign i, l (d: the coordinates that move), and is halved until Krum
    takes -lambda s where all m malicious clients send it, or it falls below 1e-5. That Krum sums
    the n - f - 2 least squared distances, f = ``num_byzantine``: what the attackers expect of the
    server, the paper's m by default, whatever the server does.

    With ``knows="own"`` (partial knowledge) s is the sign of the mean of the attackers' own m
    updates, which also stand for the benign ones: lambda is one for which Krum, with f = q, takes
    one of q copies of -lambda s and these m; q grows from 1 to m while there is none.
    Source: Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated
    Learning", USENIX Security 2020, the attack on Krum; with partial knowledge the paper leaves
    open which f its q copies are weighed with.
    """

    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    num_byzantine: int | None = param(
        "f of the Krum that they expect; None: the malicious clients of the round",
        default=None,
        low=0,
        token="f",
    )
    epsilon: float = param("distance of the others from -lambda s", default=0.01, low=0)

    def craft(self, seen: Seen) -> torch.Tensor:
        own, rows = seen.own, seen.visible
        full = rows is not own
        if full:
            honest = torch.cat((own, rows))
            apart = distances(products(honest, honest[0]))
            trend = honest[_taken(apart, self._neighbours(len(honest), len(own)))].sign()
        else:
            trend = mean(own).sign()
        size = self._size(products(torch.cat((rows, trend[None]))), len(own), full=full)
        sent = (-size * trend).repeat(len(own), 1)
        if self.epsilon and len(own) > 1:
            noise = torch.randn(
                sent[1:].shape, generator=seen.generator, dtype=sent.dtype, device=sent.device
            )
            lengths = torch.linalg.vector_norm(noise, dim=1, keepdim=True, dtype=torch.float64)
            sent[1:] += noise * (self.epsilon / lengths).to(noise)
        return sent

    def _neighbours(self, clients: int, malicious: int) -> int:
        f = malicious if self.num_byzantine is None else self.num_byzantine
        return max(1, clients - f - 2)

    def _size(self, gram: torch.Tensor, malicious: int, *, full: bool) -> float:
        """Lambda; ``gram`` is that of the visible rows and s."""
        moving = max(float(gram[-1, -1]), 1.0)
        apart, lengths, along = distances(gram[:-1, :-1]), gram.diagonal()[:-1], gram[-1, :-1]
        rows = len(lengths)
        clients = rows + malicious if full else rows
        nearest = apart.fill_diagonal_(math.inf).sort(dim=1).values
        closest = nearest[:, : min(max(1, clients - malicious - 2), rows - 1)].sum(dim=1).min()
        spread = float(closest) if rows > 1 else 0.0
        bound = math.sqrt(spread / (max(1, clients - 2 * malicious - 1) * moving))
        bound += math.sqrt(float(lengths.max()) / moving)
        if not math.isfinite(bound):
            return 0.0
        for copies in (malicious,) if full else range(1, malicious + 1):
            size = bound
            neighbours = self._neighbours(rows + copies, copies)
            while size >= _LEAST:
                beside = lengths + 2 * size * along + size**2 * moving
                if _takes(apart, beside, copies, neighbours):
                    return size
                size /= 2
        return size

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Measure ``strength``, lambda as it was sent over what it must be, ``aside``, ``beside``.

        ``aside`` is how far the first client's row is from -lambda s, over its length; ``beside``
        how far those of the others are from the right one, over ``epsilon``.
        """
        full, size = sent.sees_benign, sent.malicious

        def inner(piece: Piece) -> torch.Tensor:
            honest = torch.cat((piece.own, piece.benign)) if full else piece.own
            return (honest @ honest.T).flatten()

        honest = size + len(sent.benign) if full else size
        gram = sent.sums(inner).numpy().reshape(honest, honest)
        apart = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram
        if not full:
            return self._against(sent, apart, gram.diagonal(), -1)
        scores = _krum(apart, self._neighbours(honest, size))
        # rows that are each other's nearest tie, and rounding decides
        tied = np.flatnonzero(scores <= scores.min() + _TIED * gram.diagonal().max())
        shown = (self._against(sent, apart, gram.diagonal(), int(row)) for row in tied)
        return min(shown, key=_oddness)

    def _against(
        self,
        sent: Sent,
        apart: npt.NDArray[np.float64],
        lengths: npt.NDArray[np.float64],
        chosen: int,
    ) -> dict[str, float]:
        """The measures if Krum takes row ``chosen`` of the honest ones; below 0: their mean."""
        full, size = sent.sees_benign, sent.malicious
        eye = sent.rows.dtype

        def against(piece: Piece) -> torch.Tensor:
            rows = torch.cat((piece.own, piece.benign)) if full else piece.own
            trend = (rows[chosen] if full else rows.mean(dim=0).to(eye).double()).sign()
            row = piece.row
            return torch.cat((torch.stack((trend @ trend, row @ trend, row @ row)), rows @ trend))

        moving, along, square, *beside = sent.sums(against).tolist()
        moving = max(moving, 1.0)
        first = size if full else 0
        due = self._due(apart, lengths, np.array(beside), moving, (first, size, full))
        length = -along / moving
        rest = max(square - along**2 / moving, 0.0)
        shown = {"strength": length / due if due > 0 else 1.0 + length}
        if sent.position == 0 or self.epsilon == 0:
            return {**shown, "aside": off_by(rest, square)}
        gap = math.sqrt(rest + (length - due) ** 2 * moving)
        return {"strength": 1.0, "beside": gap / self.epsilon}

    def _due(
        self,
        apart: npt.NDArray[np.float64],
        lengths: npt.NDArray[np.float64],
        along: npt.NDArray[np.float64],
        moving: float,
        counts: tuple[int, int, bool],
    ) -> float:
        """Lambda, by Krum's scores of whole tables of distances."""
        first, malicious, full = counts
        known = slice(first, None)
        table, square, trend = apart[known, known], lengths[known], along[known]
        rows = len(square)
        clients = rows + malicious * full
        near = min(max(1, clients - malicious - 2), rows - 1)
        others = np.sort(table + np.diag(np.full(rows, np.inf)), axis=1)[:, :near]
        start = (others.sum(axis=1).min() if near else 0.0) / max(1, clients - 2 * malicious - 1)
        start = np.sqrt(start / moving) + np.sqrt(square.max() / moving)
        size = float(start)
        for copies in [malicious] if full else range(1, malicious + 1):
            whole = np.zeros((rows + copies, rows + copies))
            whole[copies:, copies:] = table
            size = float(start)
            while size >= _LEAST:
                whole[:copies, copies:] = square + 2 * size * trend + size**2 * moving
                whole[copies:, :copies] = whole[:copies, copies:].T
                scores = _krum(whole, self._neighbours(len(whole), copies))
                if int(scores.argmin()) < copies:
                    return size
                size /= 2
        return size

    def audit_problems(self, record: Record) -> list[str]:
        """Rows of another lambda or direction, or further from the first one than epsilon."""
        return [
            *measured_problems(record, "strength", 1 - 1e-3, 1 + 1e-3),
            *measured_problems(record, "aside", 0, 1e-3, required=False),
            *measured_problems(record, "beside", 0, 1.01, required=False),
        ]


def _taken(apart: torch.Tensor, neighbours: int) -> int:
    """The row that Krum takes by squared distances ``apart`` [n, n]."""
    others = apart.clone().fill_diagonal_(math.inf).sort(dim=1).values
    return int(others[:, :neighbours].sum(dim=1).argmin())


def _takes(apart: torch.Tensor, beside: torch.Tensor, copies: int, neighbours: int) -> bool:
    """Whether Krum takes one of ``copies`` of a row, rather than others ``apart`` [n, n].

    ``beside`` [n] are the copies' squared distances from these; ties go to the copies.
    """
    size = len(beside)
    row = torch.cat((torch.zeros(copies - 1, dtype=beside.dtype), beside)).sort().values
    mine = row[:neighbours].sum()
    table = torch.cat((apart, beside[:, None].expand(size, copies)), dim=1).sort(dim=1).values
    return bool(mine <= table[:, :neighbours].sum(dim=1).min())


def _krum(apart: npt.NDArray[np.float64], neighbours: int) -> npt.NDArray[np.float64]:
    """Krum's scores of the second definition, [n]."""
    table = apart + np.diag(np.full(len(apart), np.inf))
    scores: npt.NDArray[np.float64] = np.sort(table, axis=1)[:, :neighbours].sum(axis=1)
    return scores


def _oddness(shown: Mapping[str, float]) -> float:
    """How far measures are from those of an attack; of a row that ties the least counts."""
    return abs(shown["strength"] - 1) + shown.get("aside", 0.0) + shown.get("beside", 0.0)
