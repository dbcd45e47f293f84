"""Identity check of pre-aggregation: rows that are not those of its definition prove nothing."""

from __future__ import annotations

import math

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort
from fedcore.simulation.identity_sample import columns
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.definitions import Floats
from fedcore.strategies.preaggregation.definitions import MixDefinition, Mixed, MixView
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.streams import Purpose, torch_stream

_PLAIN = 8  # rounding errors of a mean beyond one for each of its terms
_CHUNK = 1 << 16  # coordinates of a distance at a time


class ChainCheck:
    """Holds the rows of each link of a chain to the link's definition, at a sample of coordinates.

    A row agrees within (K + 8) eps times the sum of the sizes of its terms; who is in it is drawn
    once more from the run's own stream. ``cohort`` and ``rows`` [R, s] are what the last link that
    was seen has made, before any what the clients sent. What a definition does not know, such as
    coordinates of clients that are not finite, is not compared.
    """

    cohort: Cohort
    rows: Floats

    def __init__(self, server: Aggregation) -> None:
        self._chain, self._seed = server.chain, server.seed
        self._position = len(server.chain)
        self._round, self._lot = 0, 0.0
        self._places = torch.empty(0, dtype=torch.int64)

    def begin(
        self, round: int, cohort: Cohort, rows: Floats, places: torch.Tensor, lot: float = 0.0
    ) -> None:
        """Start with what the clients sent in ``round``: ``rows`` [K, s] at ``places`` [s].

        ``lot`` in [0, 1) says which row is looked at closely.
        """
        self.cohort, self.rows, self._places = cohort, rows, places
        self._round, self._position, self._lot = round, 0, lot

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return bool(self._chain)

    @property
    def complete(self) -> bool:
        """Whether every link of the chain has been seen."""
        return self._position == len(self._chain)

    @property
    def link(self) -> PreAggregation:
        """The link that is seen next."""
        return self._chain[self._position]

    @property
    def definition(self) -> MixDefinition | None:
        """The definition of the next link, of its own class."""
        return vars(type(self.link)).get("definition")

    def see(self, cohort: Cohort) -> str | None:
        """What is wrong with ``cohort``, which the next link has made, as a message; or None."""
        link, position, definition = self.link, self._position, self.definition
        given, before = self.cohort, self.rows
        self.cohort, self.rows = cohort, columns(cohort.updates, self._places)
        self._position += 1
        if definition is None:
            return None

        def mixed(round: int) -> Mixed:
            generator = torch_stream(
                self._seed, Purpose.PREAGGREGATION, round=round, client=position
            )
            view = MixView(
                link, before, self.rows, given.samples, given.steps, generator,
                given.normalizers, cohort.mixing,
                lambda row, other: distance(given.updates, row, other),
                int(self._lot * len(before)),
            )  # fmt: skip
            return definition.function(view)

        expected = mixed(self._round)
        problem = expected.problem or self._facts(expected)
        if len(expected.matrix) != len(self.rows):
            problem = f"it makes {len(self.rows)} rows where it must make {len(expected.matrix)}"
        elif expected.problem is None and self._off(expected, before) > 0:
            rounds = range(1, self._round + 2)
            other = (r for r in rounds if self._off(mixed(r), before) == 0)
            problem = self._named(before, next(other, None))
        if problem is None:
            return None
        return f"pre-aggregation {str(link)!r} does not make {definition.what}: {problem}"

    def _off(self, expected: Mixed, before: Floats) -> float:
        """By how much the rows exceed what rounding explains, at most; 0 where it explains all."""
        kind = torch.finfo(self.cohort.updates.dtype)
        unit, worst = (len(before) + _PLAIN) * kind.eps, 0.0
        with np.errstate(all="ignore"):
            for weights, made in zip(expected.matrix, self.rows, strict=True):
                used = weights != 0
                due = weights[used] @ before[used]
                error = unit * (np.abs(weights[used]) @ np.abs(before[used])) + kind.tiny
                excess = np.abs(made - due) - error
                excess = np.where(np.isnan(made), np.inf, excess)[np.isfinite(error)]
                worst = max(worst, float(excess.max(initial=0.0)))
        return worst

    def _facts(self, expected: Mixed) -> str | None:
        for what in ("samples", "steps", "normalizers"):
            made, due = getattr(self.cohort, what), getattr(expected, what)
            if tuple(made) != tuple(due):
                return f"it gives its rows {what} {list(made)} where {list(due)} belong to them"
        return None

    def _named(self, before: Floats, round: int | None) -> str:
        """What the rows are instead, where that is known."""
        if round is not None:
            return f"they are those of round {round}"
        if all((before == row).all(axis=1).any() for row in self.rows):
            return "they are rows that it was given, unmixed"
        return f"{len(self.rows)} rows of {len(before)} are off by more than rounding"


def distance(rows: torch.Tensor, one: int, other: int | None) -> float:
    """How far row ``one`` is from the ``other`` (None: from 0), inf where that is not finite."""
    squares = 0.0
    for start in range(0, rows.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        gap = rows[one, part].to(torch.float64, copy=True)
        if other is not None:
            gap.sub_(rows[other, part])
        squares += float(gap.square_().sum())
    return math.sqrt(squares) if math.isfinite(squares) else math.inf
