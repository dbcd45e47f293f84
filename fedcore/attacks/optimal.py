"""Attacks that try their strength out on the very defence that they face."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import Seen, UpdateAttack
from fedcore.attacks.crafting import lonely, mean
from fedcore.components.parameters import param
from fedcore.exchange.cohort import Memory
from fedcore.exchange.sent import Piece, Sent, off_by
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario


class Optimal(UpdateAttack):
    """Sends the row, of those that `line` gives, whose step lies furthest from the benign mean.

    The attackers know the benign updates and the server: pre-aggregation with its draws of the
    round, strategy, and what it remembers. They try ``tries`` strengths in geometric steps from
    ``least_strength`` to ``greatest_strength``, and then ``tries`` more, evenly between the
    neighbours of the best one. So a round costs 2 ``tries`` aggregations more, and the audit
    ``tries``. Of equally good strengths the least is sent. What is between clients and server
    (privacy) is not tried.
    """

    knows = "benign"
    one_row = True
    tries: int = param("strengths in each of two searches", default=12, low=2)

    @abstractmethod
    def line(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(start [P], slope [P]) of ``rows`` [n, P]: at strength x, start + x * slope is sent."""

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """The least and the greatest strength."""

    @abstractmethod
    def line_of(self, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
        """As `line`, of a piece of what was sent, for the audit."""

    def problems(self, scenario: Scenario) -> list[str]:
        """A strategy that cannot be tried, a search that is turned round."""
        problems = []
        if scenario.parts.strategy.foreign:
            problems.append(
                f"attack {self.name!r} tries its strength on the server's strategy, which "
                f"{scenario.strategy!r} is not: it aggregates whole replies of Flower, once a "
                "round; name another strategy, or a fixed strength (alie, ipm)"
            )
        low, high = self.ends
        if low >= high:
            problems.append(
                f"attack {self.name!r} needs least_strength < greatest_strength, got {low:g} and "
                f"{high:g}"
            )
        return problems

    def craft(self, seen: Seen) -> torch.Tensor:
        assert seen.tried is not None, "a run gives attackers the server to try"
        centre = mean(seen.visible)
        start, slope = self.line(seen.visible)

        def effect(strength: float) -> float:
            assert seen.tried is not None
            row = torch.add(start, slope, alpha=strength)
            return _length(seen.tried(row.expand_as(seen.own)) - centre)

        grid = geometric(*self.ends, self.tries)
        effects = [effect(strength) for strength in grid]
        best = max(range(len(grid)), key=effects.__getitem__)
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        finer = [low + (high - low) * i / (self.tries + 1) for i in range(1, self.tries + 1)]
        tried = sorted([*zip(grid, effects, strict=True), *((x, effect(x)) for x in finer)])
        strength = max(tried, key=lambda pair: pair[1])[0]
        tallies = seen.memory.tallies
        tallies["rounds"] = tallies.get("rounds", 0) + 1
        tallies["sum"] = tallies.get("sum", 0) + strength
        tallies["least"] = min(strength, tallies.get("least", strength))
        tallies["most"] = max(strength, tallies.get("most", strength))
        return torch.add(start, slope, alpha=strength).expand_as(seen.own)

    def sends_own(self, clients: int, malicious: int) -> bool:
        return lonely(self, clients, malicious)

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        tallies = memory.tallies
        if not tallies:
            return ()
        return (
            f"attack {self.name!r} chose strengths {tallies['least']:.3g} to "
            f"{tallies['most']:.3g}, {tallies['sum'] / tallies['rounds']:.3g} on average, over "
            f"{tallies['rounds']:g} attacked rounds",
        )

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Measure ``strength``, ``off``, ``weaker``, and whether all sent the ``same`` row.

        ``strength`` is the one that was sent, ``off`` how far the row is from the line, over the
        length of its far end, ``weaker`` by how much, as a share, its step falls short of the best
        one of the first search: worked out for the first malicious client alone.
        """
        low, high = self.ends

        def terms(piece: Piece) -> torch.Tensor:
            start, slope = self.line_of(piece)
            gap = piece.row - start
            squares = gap @ gap, gap @ slope, slope @ slope, start @ start
            return torch.stack(squares)

        square, along, length, origin = sent.sums(terms).tolist()
        strength = along / length if length > 1e-6 * origin else low
        rest = max(square - strength * along, 0.0)
        shown = {"strength": strength, "same": sent.same}
        shown["off"] = off_by(rest, high**2 * length + origin)
        if sent.position or sent.tried is None or length <= 1e-6 * origin:
            return shown
        rows = sent.visible
        centre = rows.sum(dim=0, dtype=torch.float64) / len(rows)
        start, slope = self.line(rows)

        def distance(row: torch.Tensor) -> float:
            assert sent.tried is not None
            step = sent.tried(row.repeat(sent.malicious, 1)).double()
            return float(torch.linalg.vector_norm(step - centre))

        made = distance((sent.row / sent.factor).to(rows.dtype))
        most = max(distance(start + x * slope) for x in geometric(low, high, self.tries))
        shown["weaker"] = 1 - made / most if most > 0 else 0.0
        return shown

    def audit_problems(self, record: Record) -> list[str]:
        """Rows off the line or beyond its ends, or weaker than one that was to be tried."""
        low, high = self.ends
        return [
            *measured_problems(record, "off", 0, 1e-4),
            *measured_problems(record, "same", 1, 1),
            *measured_problems(record, "strength", (1 - 1e-3) * low, (1 + 1e-3) * high),
            *measured_problems(record, "weaker", -1e9, 1e-4, required=False),
        ]


def geometric(low: float, high: float, count: int) -> list[float]:
    """``count`` strengths from ``low`` to ``high``, each the same multiple of the one before."""
    return [low * (high / low) ** (step / (count - 1)) for step in range(count)]


def _length(gap: torch.Tensor) -> float:
    """The length of ``gap``; -1 where it is not finite, so that nobody chooses it."""
    length = float(torch.linalg.vector_norm(gap, dtype=torch.float64))
    return length if math.isfinite(length) else -1.0
