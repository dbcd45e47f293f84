"""One Flower strategy around all of fedcore's aggregation rules, closed to hostile replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from logging import INFO, WARNING

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from fedcore.engine.execution import exact_arithmetic
from fedcore.engine.local_rules import require_memory
from fedcore.errors import FedcoreError, PrivacyError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.arrays import from_arrays, to_arrays
from fedcore.flower.assault import require_simulation
from fedcore.flower.nodes import Nodes
from fedcore.flower.replies import (
    MOST_EXAMPLES,
    ClientFacts,
    Reply,
    ReplyError,
    capped,
    checked,
    matched,
    quorum_problem,
    sender,
)
from fedcore.privacy.noise import Generators
from fedcore.records.record import Exclusion
from fedcore.scenario import Scenario
from fedcore.strategies.aggregation import Aggregation


class FedcoreStrategy(Strategy):  # type: ignore[misc]
    """Any strategy of `STRATEGIES` in Flower: ``start`` it in a ServerApp like Flower's own.

    Cohorts are those of the in-process run with the same seed, replies are put in the order of
    their clients, and the same function aggregates the same bits: the model that comes out is the
    in-process one. A reply that breaks a rule of `fedcore.flower.replies` is left out and listed
    in ``excluded``; where too few remain for the rule, the round changes nothing.

    ``sample`` gives the clients of a round (from 1), ``known`` what the server knows of a client's
    work, where it does: then clients cannot lie about it. Where it does not, a count above
    ``max_examples`` is refused, and no client weighs more than ten times the round's median. A step
    to a model that is not finite is dropped. ``seed`` is that of the run, which pre-aggregation
    needs.

    Under a mechanism replies hold releases, and ``generators`` is what the clients say they drew
    from. Flower's own loop keeps no account and adds no noise: ``start`` refuses a mechanism that
    trusts the server to, and a budget; `fedcore.simulation.trial`'s loop does both.
    """

    def __init__(
        self,
        scenario: Scenario,
        layout: Layout,
        sample: Callable[[int], tuple[int, ...]],
        *,
        known: Callable[[int], ClientFacts] | None = None,
        nodes: Nodes | None = None,
        dtype: torch.dtype = torch.float32,
        seed: int | None = None,
        max_examples: int = MOST_EXAMPLES,
    ) -> None:
        self.scenario, self.layout, self.sample, self.known = scenario, layout, sample, known
        self.nodes = nodes or Nodes(scenario.num_clients)
        if seed is None and scenario.parts.preaggregation:
            raise FedcoreError(
                f"preaggregation={scenario.preaggregation!r} draws by the seed of the run: give "
                "FedcoreStrategy its seed"
            )
        self.server = Aggregation.of(scenario, seed or 0)
        self.max_examples = max_examples
        self._normalizer = scenario.parts.optimizer.solver(scenario).normalizer
        self.excluded: list[Exclusion] = []
        self.release = None
        self.generators: Generators | None = None
        if scenario.parts.privacy is not None:
            self.release = scenario.parts.privacy.release_of(layout)
            self.generators = Generators()
        empty = torch.empty(0, dtype=torch.int64)
        self._state = ServerState(torch.empty(0, dtype=dtype), empty)
        self._asked: dict[int, list[int]] = {}  # the clients asked for, by node

    @property
    def left_out(self) -> tuple[Exclusion, ...]:
        """Nobody: there is no wrapper here."""
        return ()

    def messages(
        self,
        round: int,
        state: ServerState,
        clients: Iterable[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
    ) -> list[Message]:
        """The training messages of ``round`` for ``clients``, who start from ``state``."""
        self.nodes.refresh(grid)
        if self.nodes.shared and self.server.strategy.keeps_batch_norm:
            raise FedcoreError(
                f"strategy {self.scenario.strategy!r} needs a SuperNode for each of the "
                f"{self.scenario.num_clients} clients: they keep layers of their own"
            )
        self._state, self._asked = state, {}
        made = []
        for client in clients:
            node = self.nodes.node_of(client)
            if node is None:
                self._exclude(round, client, "no node is connected for it")
                continue
            self._asked.setdefault(node, []).append(client)
            told = ConfigRecord({**config, "server-round": round, "client": client})
            content = RecordDict({"arrays": arrays, "config": told})
            made.append(Message(content, node, MessageType.TRAIN, group_id=str(round)))
        return made

    def collect(self, round: int, replies: Iterable[Message]) -> Cohort:
        """The cohort of the valid ``replies``, by client; of nobody where too few are valid."""
        state = self._state
        valid: dict[int, Reply] = {}
        found, silent = matched(self._asked, replies)
        for client, reply in found.items():
            try:
                if (said := sender(reply)) not in (client, None):
                    raise ReplyError(f"claims to be client {said}")
                known = None if self.known is None else self.known(client)
                valid[client] = checked(
                    reply,
                    self.layout,
                    state,
                    known,
                    self.release,
                    normalizer=self._normalizer,
                    most=self.max_examples,
                )
            except ReplyError as error:
                self._exclude(round, client, str(error))
        for client in silent:
            self._exclude(round, client, "no reply in time")
        if self.known is None:
            valid, left = capped(valid)
            for client, reason in left.items():
                self._exclude(round, client, reason)
        for valid_reply in valid.values():
            if self.generators is not None and valid_reply.secret is not None:
                self.generators.hear(valid_reply.secret)
        problem = None
        if len(valid) < sum(map(len, self._asked.values())) or not valid:
            problem = quorum_problem(self.scenario, len(valid))
        if problem is not None:
            for client in sorted(valid):
                self._exclude(round, client, f"too few valid replies: {problem}")
            valid = {}
        return gathered(valid, state)

    def _exclude(self, round: int, client: int, reason: str) -> None:
        log(WARNING, "round %s: client %s is left out: %s", round, client, reason)
        self.excluded.append(Exclusion(round, client, reason))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        require_simulation(self.scenario, "in Flower's own loop")
        require_memory(self.scenario)
        self._require_no_server()
        vector, counters = from_arrays(self.layout, arrays, self._state.vector)
        state = ServerState(vector, counters, self._state.memory)
        clients = self.sample(server_round)
        return self.messages(server_round, state, clients, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        with exact_arithmetic(self._state.vector.device):
            cohort = self.collect(server_round, replies)
            if not cohort.clients:
                return None, None
            memory = self._state.memory.copy()
            after = self.server.aggregate(
                self._state, cohort, self.layout.num_parameters, server_round
            )
        if not bool(torch.isfinite(after.vector).all()):
            log(
                WARNING,
                "round %s: the step is dropped: the model would not be finite",
                server_round,
            )
            self._state.memory = memory  # what it was before the step
            return None, None
        self._state = after
        metrics = MetricRecord(
            {"clients": len(cohort.clients), "num-examples": sum(cohort.samples)}
        )
        return to_arrays(self.layout, after.vector, after.counters), metrics

    def _require_no_server(self) -> None:
        if self.server.strategy.root_samples:
            raise FedcoreError(
                f"strategy {self.scenario.strategy!r} has the server train an update of its own, "
                "which Flower's own loop does not: run it with `flwr run`, or with the engine "
                "flower-grid or flower-ray"
            )
        mechanism = self.scenario.parts.privacy
        if mechanism is None:
            return
        needs = []
        if mechanism.trusts_server:
            needs.append(f"{mechanism.name} needs the server's noise")
        if self.scenario.epsilon_budget is not None:
            needs.append(f"epsilon_budget={self.scenario.epsilon_budget:g} needs an account")
        if needs:
            raise PrivacyError(
                f"{' and '.join(needs)}, which Flower's own loop does not give: run it with "
                "`flwr run`, or with the engine flower-grid or flower-ray"
            )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Nothing: the test set is central (``evaluate_fn``)."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return None

    def summary(self) -> None:
        log(INFO, "\t├──> fedcore: %s", self.scenario.id)


def gathered(valid: dict[int, Reply], state: ServerState) -> Cohort:
    """The cohort of checked replies by client, in ascending order."""
    clients = sorted(valid)
    updates = torch.empty(len(clients), len(state.vector)).to(state.vector)
    counters = torch.empty(len(clients), len(state.counters)).to(state.counters)
    for row, client in enumerate(clients):
        if valid[client].secret is None:
            torch.sub(valid[client].vector, state.vector, out=updates[row])
        else:  # a release is the update
            updates[row] = valid[client].vector
        counters[row] = valid[client].counters
    facts: Sequence[ClientFacts] = [valid[client].facts for client in clients]
    return Cohort(
        clients=tuple(clients),
        updates=updates,
        counters=counters,
        samples=tuple(f.samples for f in facts),
        steps=tuple(f.steps for f in facts),
        normalizers=tuple(f.normalizer for f in facts),
    )
