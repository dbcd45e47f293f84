"""Mimic: all attackers repeat what one benign client sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.attacks.crafting import mean, spans
from fedcore.components.parameters import param
from fedcore.exchange.cohort import Memory
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record


@ATTACKS.register("mimic", "all repeat one benign client's update (Karimireddy et al. 2022)")
class Mimic(UpdateAttack):
    """All malicious clients send the update of one benign client, which so is overrepresented.

    For ``warmup`` attacked rounds (t = 0, 1, ...) z follows the direction in which the benign
    updates u_i vary most, by Oja's rule: mu = (t mu + mean u_i) / (t + 1), then z = t z + c / |c|,
    c = sum_i <z, u_i - mu> (u_i - mu), made of length 1. It begins with a random z. The client with
    the greatest <z, u_i> is repeated; that of the last warm-up round is kept to the end of the run.
    (mu is the plain mean over rounds, as the authors' code has it.) In a round without that client
    the one with the greatest <z, u_i> of those present stands in; without any benign client
    attackers send their own.

    The attackers know the benign updates; each sent row is honest by itself, so that no rule that
    looks for outliers sees it. Source: Karimireddy, He, Jaggi, "Byzantine-Robust Learning on
    Heterogeneous Datasets via Bucketing", ICLR 2022, the mimic attack.
    """

    knows = "benign"
    one_row = True
    warmup: int = param("rounds in which the client is looked for", default=5, low=1)

    def craft(self, seen: Seen) -> torch.Tensor:
        rows, memory = seen.benign, seen.memory
        if rows is None or not len(rows):
            return seen.own
        past = int(memory.tallies.get("rounds", 0))
        if past < self.warmup:
            self._learn(rows, past, seen)
            memory.tallies["rounds"] = past + 1
        target = memory.tallies.get("target")
        if past < self.warmup or target not in seen.others:
            chosen = int(_along(rows, memory["direction"]).argmax())
            if past < self.warmup:
                memory.tallies["target"] = seen.others[chosen]
        else:
            chosen = seen.others.index(int(target))
        return rows[chosen].expand_as(seen.own)

    @staticmethod
    def _learn(rows: torch.Tensor, past: int, seen: Seen) -> None:
        """Oja's rule on the benign ``rows``, ``past`` rounds having been seen before."""
        memory, now = seen.memory, mean(rows)
        if past == 0:
            start = torch.randn(
                now.shape, generator=seen.generator, dtype=now.dtype, device=now.device
            )
            memory["direction"], memory["mean"] = start, now
        else:
            memory["mean"] = memory["mean"] * (past / (past + 1)) + now / (past + 1)
        centre, before = memory["mean"], memory["direction"]
        weights = _along(rows, before, centre)
        moved = torch.cat(
            [(weights @ (rows[:, span].double() - centre[span])).to(before) for span in spans(rows)]
        )
        length = torch.linalg.vector_norm(moved, dtype=torch.float64)
        if bool(length > 0):
            after = moved / length.to(moved)
            if past:
                after = before * past + after
            memory["direction"] = after / torch.linalg.vector_norm(after)

    def sends_own(self, clients: int, malicious: int) -> bool:
        return clients == malicious

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        if "target" not in memory.tallies:
            return ()
        rounds, target = int(memory.tallies["rounds"]), int(memory.tallies["target"])
        text = f"attack {self.name!r} repeated client {target} after {rounds} rounds of warm-up"
        if rounds < self.warmup:
            text = (
                f"attack {self.name!r} had {rounds} rounds with benign clients, its warm-up takes "
                f"{self.warmup}: lower warmup, or raise rounds"
            )
        return (text,)

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Measure ``off``, how far the row is from the nearest benign one, over its length.

        ``strays`` is 1 where that is not the client which was repeated last in the warm-up,
        although it is present; ``same`` 1 where all sent one row.
        """
        rows = sent.benign if len(sent.benign) else sent.own[sent.position][None]

        def terms(piece: Piece) -> torch.Tensor:
            all_rows = piece.benign if len(sent.benign) else piece.own[sent.position][None]
            gaps = (all_rows - piece.row).square().sum(dim=1)
            return torch.cat((gaps, all_rows.square().sum(dim=1)))

        gaps, squares = sent.sums(terms).view(2, len(rows)).tolist()
        nearest = min(range(len(gaps)), key=gaps.__getitem__)
        shown = {"off": off_by(gaps[nearest], squares[nearest]), "same": sent.same, "strays": 0.0}
        if not len(sent.benign):
            return {"off": shown["off"]}
        copied, kept = sent.others[nearest], sent.kept
        seen: list[int] = kept.setdefault("rounds", [])
        if sent.round not in seen:
            seen.append(sent.round)
        if len(seen) <= self.warmup:
            kept["target"] = copied
        elif kept["target"] in sent.others:
            shown["strays"] = float(copied != kept["target"])
        return shown

    def audit_problems(self, record: Record) -> list[str]:
        """Rows that no benign client sent in the round; another client after the warm-up."""
        return [
            *measured_problems(record, "off", 0, 1e-4),
            *measured_problems(record, "same", 1, 1, required=False),
            *measured_problems(record, "strays", 0, 0, required=False),
        ]


def _along(
    rows: torch.Tensor, direction: torch.Tensor, centre: torch.Tensor | None = None
) -> torch.Tensor:
    """<direction, row - centre> of each of ``rows`` [n, P], float64."""
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for span in spans(rows):
        wide = rows[:, span].double()
        if centre is not None:
            wide = wide - centre[span]
        total += wide @ direction[span].double()
    return total
