"""The engine over a Flower Grid: the cohort trains wherever its nodes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from fedcore.engine.evaluation import Score
from fedcore.engine.local_rules import require_memory
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.federation.federation import Federation
from fedcore.federation.root import joined
from fedcore.flower import notes
from fedcore.flower.arrays import to_arrays
from fedcore.flower.assault import require_simulation
from fedcore.flower.foreign import Foreign
from fedcore.flower.nodes import Nodes
from fedcore.flower.replies import ClientFacts
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.flower.task import Task, Workshop
from fedcore.privacy.noise import Generators
from fedcore.records.provenance import code_digest
from fedcore.records.record import Exclusion


class Conductor(Protocol):
    """What an engine needs of a strategy: messages for a round, and a cohort from the replies."""

    excluded: list[Exclusion]

    @property
    def left_out(self) -> Sequence[Exclusion]:
        """What a wrapper around a foreign strategy has excluded."""

    def messages(
        self,
        round: int,
        state: ServerState,
        clients: tuple[int, ...],
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> list[Message]:
        """The training messages of ``round``."""

    def collect(self, round: int, replies: list[Message]) -> Cohort:
        """The cohort of the valid ``replies``."""


class GridEngine:
    """Trains over ``grid``; evaluates here. ``timeout`` is for a round's replies, in seconds.

    ``strict`` is for simulations, where nobody has reason to fail: an excluded client is an error
    there, not a fact of the audit. Clients make their releases themselves (``generators``: what
    they say they drew from), with the reference engine, which trains as a mechanism asks.
    """

    trains_privately = True  # see `fedcore.privacy.run`
    follows_rules = True  # but for those that need a memory, see `require_memory`
    generators: Generators | None = None

    def __init__(
        self,
        federation: Federation,
        task: Task,
        grid: Grid,
        *,
        timeout: float | None = None,
        strict: bool = True,
        nodes: Nodes | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        require_simulation(federation.scenario, None)
        require_memory(federation.scenario)
        private = federation.scenario.privacy is not None
        self.unseen = notes.WITHHELD if private else notes.MISSING
        self.federation, self.grid, self.strict = federation, grid, strict
        self.timeout, self.on_close = timeout, on_close
        self._engine = task.engine(federation)
        self.layout = self._engine.layout
        # clients in this process use what is made ready here
        self._workshop = Workshop(federation, self._engine)
        Workshop.keep(task, self._workshop)
        own = replace(task, data=federation.dataset.digest, code=code_digest())
        self._config = own.to_config()
        # what clients under differential privacy send is what their statement says, nothing more
        self._config[notes.WANTED] = not private
        scenario, known = federation.scenario, known_facts(federation, lambda: self._round)
        self._round = 1
        self.nodes = nodes = nodes or Nodes(scenario.num_clients, timeout)
        self.conductor: Conductor
        if scenario.strategy_spec is not None:
            self.conductor = Foreign(scenario, federation.seed, self.layout, known, nodes)
        else:
            self.conductor = rule = FedcoreStrategy(
                scenario,
                self.layout,
                federation.cohort,
                known=known,
                nodes=nodes,
                dtype=task.execution.dtype,
                seed=federation.seed,
            )
            self.generators = rule.generators

    @property
    def excluded(self) -> list[Exclusion]:
        """Clients whose replies were missing or invalid, in the eyes of a wrapper, too."""
        return [*self.conductor.excluded, *self.conductor.left_out]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the record says of the network: nodes that were left out, and why."""
        return self.nodes.remarks

    def initial_state(self) -> ServerState:
        """The global model before round 1."""
        return self._engine.initial_state()

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Have ``clients`` train from ``state``, wherever they are; the server trains here."""
        self._round = round
        root = self.federation.root
        if root is not None and root.client in clients:
            own = self._engine.train(state, round, (root.client,))
            row = replace(own, updates=own.updates.clone(), counters=own.counters.clone())
            return joined(self.train(state, round, clients[:-1]), row)
        arrays = to_arrays(self.layout, state.vector, state.counters)
        messages = self.conductor.messages(
            round, state, clients, arrays, self._config.copy(), self.grid
        )
        replies = list(self.grid.send_and_receive(messages, timeout=self.timeout))
        noted = notes.taken(self._workshop, round, replies)
        for client in clients:  # clients in other processes have drawn there
            self._engine.see(state, round, client)
        self.federation.threat.note(round, clients)
        cohort = self.conductor.collect(round, replies)
        if self.strict and self.conductor.excluded:
            first = self.conductor.excluded[0]
            raise FedcoreError(
                f"client {first.client} of a simulation failed in round {first.round}: "
                f"{first.reason}"
            )
        return notes.added(cohort, noted)

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set, here."""
        return self._engine.evaluate(state)

    def close(self) -> None:
        """Let go of the grid."""
        self.on_close()


def known_facts(
    federation: Federation, round: Callable[[], int] = lambda: 1
) -> Callable[[int], ClientFacts]:
    """What the server of a simulation knows of each client's work in the ``round`` that is on."""
    scenario = federation.scenario
    solver = scenario.parts.optimizer.solver(scenario)

    def known(client: int) -> ClientFacts:
        samples = len(federation.parts[client])
        steps = federation.steps_of(client, round())
        return ClientFacts(samples, steps, solver.normalizer(steps))

    return known
