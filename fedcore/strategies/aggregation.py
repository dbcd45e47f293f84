"""Aggregation: the one place where a cohort becomes the next global model, in every engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.strategies.strategy import Strategy
from fedcore.streams import Purpose, torch_stream

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Aggregation:
    """The pre-aggregations of a run, one after the other, and the strategy behind them.

    ``seed`` is that of the run, from which pre-aggregations and strategies draw, ``clients`` are
    those of the run, of which strategies may keep an account. Raises FedcoreError for a chain in
    front of a strategy that aggregates by itself, as it would not see the rows.
    """

    strategy: Strategy
    chain: tuple[PreAggregation, ...] = ()
    seed: int = 0
    clients: int | None = None

    @classmethod
    def of(cls, scenario: Scenario, seed: int) -> Aggregation:
        """What the server of a run of ``scenario`` with ``seed`` does."""
        parts = scenario.parts
        return cls(parts.strategy, parts.preaggregation, seed, scenario.num_clients)

    def __post_init__(self) -> None:
        if self.chain and type(self.strategy).aggregate is not Strategy.aggregate:
            raise FedcoreError(
                f"strategy {type(self.strategy).__name__} has an aggregate of its own, which no "
                "pre-aggregation can stand in front of: write its step instead, or leave "
                "preaggregation out"
            )

    def withstands(self, clients: int) -> int | None:
        """How many malicious ones among ``clients`` of a round chain and rule are made for.

        The least number that a link or the rule states of the rows that it is given; a malicious
        client spoils one row at most of those that several are made into. None: none has a number.
        """
        numbers, rows = [], clients
        for link in self.chain:
            numbers.append(link.withstands(rows))
            rows = link.rows(rows)
        numbers.append(self.strategy.withstands(rows))
        return min((number for number in numbers if number is not None), default=None)

    def aggregate(
        self,
        state: ServerState,
        cohort: Cohort,
        num_parameters: int,
        round: int,
        seen: Callable[[Cohort], None] | None = None,
    ) -> ServerState:
        """The model after ``round`` (from 1); ``seen`` hears the rows of each link of the chain.

        ``num_parameters`` is the number of coordinates that are parameters; buffers and counters
        are those of ``cohort`` as it was sent.
        """
        memory = state.memory
        memory.seed, memory.round, memory.population = self.seed, round, self.clients
        if not self.chain:
            return self.strategy.aggregate(state, cohort, num_parameters)
        rows = cohort
        for rows in self._links(cohort.restricted(num_parameters), round):
            if seen is not None:
                seen(rows)
        return self.strategy.aggregate(state, cohort, num_parameters, rows)

    def _links(self, cohort: Cohort, round: int) -> Iterator[Cohort]:
        """The cohort after each link of the chain: of parameters, without counters and notes."""
        rows = cohort
        for position, link in enumerate(self.chain):
            expected = link.rows(len(rows.clients))
            generator = torch_stream(
                self.seed, Purpose.PREAGGREGATION, round=round, client=position
            )
            updates, facts = link.mix(
                rows.updates, dataclasses.replace(rows, mixing=None), generator
            )
            sizes = {len(updates), *map(len, (facts.clients, facts.samples))}
            sizes |= {len(facts.steps), len(facts.normalizers)}
            if sizes != {expected} or updates.shape[1:] != rows.updates.shape[1:]:
                raise FedcoreError(
                    f"pre-aggregation {type(link).__name__} made rows of shape "
                    f"{tuple(updates.shape)} and facts of {len(facts.clients)} clients from "
                    f"{tuple(rows.updates.shape)}, where its rows() says {expected}: both must "
                    "agree"
                )
            none = cohort.counters.new_empty((expected, 0))
            rows = dataclasses.replace(facts, updates=updates, counters=none, noted=None)
            yield rows
