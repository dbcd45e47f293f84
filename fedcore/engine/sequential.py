"""The reference engine: one client after the other, in one model that lives in flat vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from fedcore.engine.base import ENGINES
from fedcore.engine.batches import batch_bounds
from fedcore.engine.evaluation import Score, evaluate
from fedcore.engine.solvers import OPTIMIZERS
from fedcore.federation import Federation
from fedcore.models.dropout import StreamDropout
from fedcore.strategies.base import STRATEGIES, Cohort, ServerState
from fedcore.streams import Purpose, stream, torch_stream
from fedcore.vector import Layout

if TYPE_CHECKING:
    from fedcore.execution import Execution

# Float pixels of a client that are transformed at once: bounds memory at 224 pixels.
_CHUNK_PIXELS = 1 << 24


class SequentialEngine:
    """Trains clients one by one. Bitwise repeatable on one machine, device and thread count."""

    def __init__(
        self, federation: Federation, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        scenario = federation.scenario
        self.federation, self.device, self.dtype = federation, device, dtype
        self.model = federation.initial_model().to(device=device, dtype=dtype)
        self.layout = Layout.of(self.model)
        self._vector, self._counters = self.layout.flatten(self.model.state_dict())
        self._gradient = torch.zeros(self.layout.num_parameters, dtype=dtype, device=device)
        self.layout.bind(self.model, self._vector, self._counters, self._gradient)
        self._initial = ServerState(self._vector.clone(), self._counters.clone())
        self._dropouts = [m for m in self.model.modules() if isinstance(m, StreamDropout)]
        self._solver = OPTIMIZERS[scenario.optimizer](scenario)
        size = scenario.cohort_size
        self._updates = torch.empty(size, self.layout.size, dtype=dtype, device=device)
        self._ends = torch.empty(size, self.layout.num_counters, dtype=torch.int64, device=device)
        self._own_layers = (
            self.layout.batch_norm_indices().to(device)
            if STRATEGIES[scenario.strategy].keeps_batch_norm
            else None
        )
        self._kept: dict[int, torch.Tensor] = {}  # FedBN: a client's own layers between rounds

    def initial_state(self) -> ServerState:
        """The global model before round 1."""
        return ServerState(self._initial.vector.clone(), self._initial.counters.clone())

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``. The cohort's tensors are valid until the next call."""
        self.model.train()
        steps = []
        for row, client in enumerate(clients):
            self._load(state)
            if self._own_layers is not None and client in self._kept:
                self._vector[self._own_layers] = self._kept[client]
            steps.append(self._work(state, round, client))
            if self._own_layers is not None:
                self._kept[client] = self._vector[self._own_layers]
            torch.sub(self._vector, state.vector, out=self._updates[row])
            self._ends[row] = self._counters
        return Cohort(
            clients=clients,
            updates=self._updates[: len(clients)],
            counters=self._ends[: len(clients)],
            samples=tuple(len(self.federation.parts[c]) for c in clients),
            steps=tuple(steps),
            normalizers=tuple(self._solver.normalizer(s) for s in steps),
        )

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set."""
        self._load(state)
        federation = self.federation
        return evaluate(
            self.model,
            federation.test,
            federation.transform,
            federation.dataset.num_classes,
            federation.success_classes,
            self.dtype,
        )

    def close(self) -> None:
        """Nothing outlives a round."""

    def _load(self, state: ServerState) -> None:
        self._vector.copy_(state.vector)
        self._counters.copy_(state.counters)

    def _work(self, state: ServerState, round: int, client: int) -> int:
        """One client's local epochs, in place; the number of steps taken."""
        federation = self.federation
        weights = self._vector[: self.layout.num_parameters]
        self._solver.start(state.vector[: self.layout.num_parameters])
        for dropout in self._dropouts:
            dropout.seed(
                torch_stream(
                    federation.seed, Purpose.DROPOUT, round=round, client=client, device=self.device
                )
            )
        order = stream(federation.seed, Purpose.BATCH_ORDER, round=round, client=client)
        part = federation.parts[client]
        believed = federation.poisoning.labels_of(client, round)
        bounds = batch_bounds(len(part), federation.scenario.batch_size)
        epochs = int(federation.epochs[client])
        for _ in range(epochs):
            shuffled = order.permutation(len(part))
            samples = torch.from_numpy(part[shuffled]).to(self.device)
            labels = torch.from_numpy(believed[shuffled]).to(self.device)
            for start, stop, images in self._batches(samples, bounds):
                self._gradient.zero_()
                loss = F.cross_entropy(self.model(images), labels[start:stop])
                loss.backward()  # type: ignore[no-untyped-call]
                self._solver.step(weights, self._gradient)
        return epochs * len(bounds)

    def _batches(
        self, samples: torch.Tensor, bounds: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int, torch.Tensor]]:
        """(start, stop, images) of each batch; images are gathered and transformed in bulk."""
        transform = self.federation.transform
        per_batch = bounds[0][1] * transform.channels * transform.size[0] * transform.size[1]
        group = max(1, _CHUNK_PIXELS // per_batch)
        for first in range(0, len(bounds), group):
            chunk = bounds[first : first + group]
            begin, end = chunk[0][0], chunk[-1][1]
            raw = self.federation.train_images.index_select(0, samples[begin:end])
            images = transform(raw).to(self.dtype)
            for start, stop in chunk:
                yield start, stop, images[start - begin : stop - begin]


@ENGINES.register("sequential", "one client after the other; the reference")
def sequential(federation: Federation, execution: Execution) -> SequentialEngine:
    """The engine that ``execution`` describes."""
    engine = SequentialEngine(federation, execution.torch_device, execution.dtype)
    execution.cast_model(engine.model)
    return engine
