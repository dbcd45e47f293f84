"""The stacked engine: a cohort's clients trained as one network, exact within rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from fedcore.engine.evaluation import Score, evaluate, with_success
from fedcore.engine.interface import ENGINES
from fedcore.engine.scores import logits
from fedcore.engine.stack.memory import most_clients
from fedcore.engine.stack.network import StackedNetwork
from fedcore.engine.stack.step import cuda_graphs
from fedcore.engine.stack.trainer import StackedTrainer
from fedcore.engine.witness import Eye
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.evidence import WIDTH, Row
from fedcore.exchange.layout import Layout
from fedcore.federation.federation import Federation

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution


class Bench:
    """What runs of one architecture and solver share: a model to score with, and the trainer.

    ``budget`` is how many bytes training may take; None: see `most_clients`.
    """

    def __init__(
        self, federation: Federation, execution: Execution, budget: int | None = None
    ) -> None:
        self.device, self.dtype = device, dtype = execution.torch_device, execution.dtype
        self.model: nn.Module = federation.initial_model().to(device=device, dtype=dtype)
        self.layout = Layout.of(self.model)
        self.norm_layers = self.layout.batch_norm_indices().to(device)
        self.solver = federation.scenario.parts.optimizer.solver(federation.scenario)
        limit = most_clients(self.model, self.layout, federation, budget)
        network = StackedNetwork(self.model, self.layout, execution.cast)
        record = cuda_graphs(device) if execution.records_steps else None
        self.trainer = StackedTrainer(network, self.solver, limit, device, dtype, record)
        self.vector, self.counters = self.layout.flatten(self.model.state_dict())
        gradient = torch.zeros(self.layout.num_parameters, dtype=dtype, device=device)
        self.layout.bind(self.model, self.vector, self.counters, gradient)
        execution.cast_model(self.model)

    def load(self, state: ServerState) -> None:
        """Make ``state`` the model."""
        self.vector.copy_(state.vector)
        self.counters.copy_(state.counters)


class RoundWork:
    """A cohort's work in one round: a task for each client, then the `Cohort` that they make."""

    def __init__(
        self,
        federation: Federation,
        bench: Bench,
        state: ServerState,
        round: int,
        clients: tuple[int, ...],
        kept: dict[int, torch.Tensor],
    ) -> None:
        self.federation, self.state, self.round, self.kept = federation, state, round, kept
        self.tasks = [ClientTask(self, row, client) for row, client in enumerate(clients)]
        size = len(clients)
        self.updates = state.vector.new_empty(size, len(state.vector))
        self.counters = state.counters.new_empty(size, len(state.counters))
        self._solver = bench.solver
        self.ended: dict[int, torch.Tensor] = {}
        self.noted = np.zeros((size, WIDTH), np.int64)
        strategy = federation.scenario.parts.strategy
        self.own_layers = bench.norm_layers if strategy.keeps_batch_norm else None

    def cohort(self, steps: Sequence[int]) -> Cohort:
        """What the clients send once their tasks, of ``steps`` local steps, are done."""
        clients = tuple(task.client for task in self.tasks)
        self.kept.update(self.ended)
        return Cohort(
            clients=clients,
            updates=self.updates,
            counters=self.counters,
            samples=tuple(len(self.federation.parts[c]) for c in clients),
            steps=tuple(steps),
            normalizers=tuple(self._solver.normalizer(s) for s in steps),
            noted=self.noted,
        )


@dataclass(frozen=True, eq=False)
class ClientTask:
    """A `Task`: ``client`` trains from the global model, but for the layers it keeps (FedBN)."""

    work: RoundWork
    row: int
    client: int

    @property
    def federation(self) -> Federation:
        """Where the client belongs."""
        return self.work.federation

    @property
    def round(self) -> int:
        """The round, from 1."""
        return self.work.round

    def load(self, vector: torch.Tensor, counters: torch.Tensor) -> None:
        work = self.work
        vector.copy_(work.state.vector)
        counters.copy_(work.state.counters)
        if work.own_layers is not None and self.client in work.kept:
            vector[work.own_layers] = work.kept[self.client]

    def store(self, vector: torch.Tensor, counters: torch.Tensor) -> None:
        work = self.work
        if work.own_layers is not None:
            work.ended[self.client] = vector[work.own_layers]
        torch.sub(vector, work.state.vector, out=work.updates[self.row])
        work.counters[self.row] = counters

    def note(self, row: Row) -> None:
        self.work.noted[self.row] = row


class StackedEngine:
    """Trains the clients of a round together. Engines on one `Bench` take turns.

    Runs in lockstep put the `work` of several engines into one training.
    """

    projects = True  # see `fedcore.engine.local_rules`

    def __init__(self, federation: Federation, bench: Bench) -> None:
        self.federation, self.bench, self.layout = federation, bench, bench.layout
        self._kept: dict[int, torch.Tensor] = {}  # FedBN: a client's own layers between rounds

    def initial_state(self) -> ServerState:
        """The global model before round 1."""
        model = self.federation.initial_model().to(device=self.bench.device, dtype=self.bench.dtype)
        return ServerState(*self.layout.flatten(model.state_dict()))

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``."""
        work = self.work(state, round, clients)
        return work.cohort(self.bench.trainer.train(work.tasks))

    def work(self, state: ServerState, round: int, clients: tuple[int, ...]) -> RoundWork:
        """What ``clients`` have to do in ``round``, from ``state``."""
        self._see(state, round, clients)
        return RoundWork(self.federation, self.bench, state, round, clients, self._kept)

    def _see(self, state: ServerState, round: int, clients: tuple[int, ...]) -> None:
        """Have clients draw their labels from scores under ``state``, where they do so."""
        bench, federation = self.bench, self.federation
        waiting = [c for c in clients if federation.threat.wants_scores(c, round)]
        if not waiting:
            return
        bench.load(state)
        bench.model.eval()
        for client in waiting:
            scores = logits(bench.model, federation, client, bench.dtype)
            federation.threat.see(client, round, scores)

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set, and on the probe set where there is one."""
        bench, federation = self.bench, self.federation
        bench.load(state)
        score = evaluate(
            bench.model,
            federation.test,
            federation.transform,
            federation.dataset.num_classes,
            federation.success_classes,
            bench.dtype,
            Eye.of(federation, bench.device),
        )
        eye = Eye.of(federation, bench.device, probe=True)
        return with_success(score, bench.model, federation, bench.dtype, eye)

    def close(self) -> None:
        """Nothing outlives a round."""


@ENGINES.register("stacked-graphs", "stacked, with each kind of step replayed as a CUDA graph")
@ENGINES.register("stacked", "a round's clients as one network; made for GPUs")
def stacked(federation: Federation, execution: Execution) -> StackedEngine:
    """The engine that ``execution`` describes."""
    return StackedEngine(federation, Bench(federation, execution))
