"""The reference engine: one client after the other, in one model that lives in flat vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from fedcore.data.dataset import Split
from fedcore.engine.client_memory import LAYERS, ClientMemory
from fedcore.engine.evaluation import Score, evaluate, score_batch, with_success
from fedcore.engine.interface import ENGINES, Engine
from fedcore.engine.local_rules import LocalRules, kept_by, told_to
from fedcore.engine.parallel import ParallelEngine, require_fork
from fedcore.engine.private_work import hold_norms, private_steps, restrict
from fedcore.engine.scores import ScoredLabels, logits
from fedcore.engine.shared import Zeros, shared_zeros
from fedcore.engine.witness import Eye, Notes, Witness
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.evidence import WIDTH
from fedcore.exchange.fingerprints import model_hash
from fedcore.exchange.layout import Layout
from fedcore.federation.batches import batch_bounds
from fedcore.federation.federation import Federation
from fedcore.models.dropout import StreamDropout
from fedcore.native.convolution import fuse_convolutions
from fedcore.native.pooling import fuse_pooling
from fedcore.streams import Purpose, stream, torch_stream

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution

# Float pixels of a client that are transformed at once: bounds memory at 224 pixels.
_CHUNK_PIXELS = 1 << 24


class SequentialEngine:
    """Trains clients one by one. Bitwise repeatable on one machine, device and thread count."""

    trains_privately = True  # see `fedcore.privacy.run`
    follows_rules = True  # see `fedcore.engine.local_rules`

    def __init__(
        self,
        federation: Federation,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        zeros: Zeros = torch.zeros,
    ) -> None:
        """``zeros`` allocates what the processes of a run share: see `fedcore.engine.parallel`."""
        scenario = federation.scenario
        self.federation, self.device, self.dtype = federation, device, dtype
        self.model = federation.initial_model().to(device=device, dtype=dtype)
        self.layout = Layout.of(self.model)
        self._vector, self._counters = self.layout.flatten(self.model.state_dict())
        self._gradient = torch.zeros(self.layout.num_parameters, dtype=dtype, device=device)
        self.layout.bind(self.model, self._vector, self._counters, self._gradient)
        if not scenario.parts.per_example:
            # Opacus looks at every layer, and knows torch's own
            fuse_convolutions(fuse_pooling(self.model))
        self._trained = restrict(self.model, self.layout, scenario)
        self._private_steps = private_steps(scenario, self.model, self.layout)
        self._initial = ServerState(self._vector.clone(), self._counters.clone())
        self._dropouts = [m for m in self.model.modules() if isinstance(m, StreamDropout)]
        self.witness = Witness(federation, device, dtype)
        self._solver = self.witness.watched(scenario.parts.optimizer.solver(scenario))
        size = scenario.cohort_size + (federation.root is not None)
        self._noted = zeros((size, WIDTH), dtype=torch.int64, device="cpu")
        self._waiting: list[tuple[int, int, Notes]] = []  # to be settled: (row, model, notes)
        self._updates = zeros((size, self.layout.size), dtype=dtype, device=device)
        self._ends = zeros((size, self.layout.num_counters), dtype=torch.int64, device=device)
        self.scored = ScoredLabels(federation, zeros)
        keeps = scenario.parts.strategy.keeps_batch_norm
        self._own_layers = self.layout.batch_norm_indices().to(device) if keeps else None
        parameters = self.layout.num_parameters
        kept = dict.fromkeys(kept_by(scenario), parameters)
        if self._own_layers is not None:  # FedBN: clients' own layers between rounds
            kept[LAYERS] = len(self._own_layers)
        self.memory = ClientMemory(kept, len(federation.parts), zeros, dtype, device)
        self.told = {n: zeros((parameters,), dtype=dtype, device=device) for n in told_to(scenario)}
        self._rules = LocalRules(federation, parameters, self.told)

    def initial_state(self) -> ServerState:
        """The global model before round 1."""
        return ServerState(self._initial.vector.clone(), self._initial.counters.clone())

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``. The cohort's tensors are valid until the next call."""
        for row, client in enumerate(clients):
            self.train_client(state, round, row, client)
        return self.cohort(clients, round)

    def train_client(self, state: ServerState, round: int, row: int, client: int) -> None:
        """Train ``client`` from ``state``; its update becomes row ``row`` of the cohort."""
        self.federation.threat.forget(client)  # what an earlier run in this process has drawn
        self.see(state, round, client, row)
        self.model.train()
        hold_norms(self.model, self.federation.scenario)
        self._load(state)
        own = self._own_layers
        if own is not None and self.memory.has(client):
            self._vector[own] = self.memory.of(client)[LAYERS]
        begun_from = model_hash(self._vector, self._counters) if round == 1 else 0
        self.witness.begin(round, client)
        self._work(state, round, client)
        self._waiting.append((row, begun_from, self.witness.noted(self._rules.seen(client, round))))
        if own is not None:
            self.memory.of(client)[LAYERS].copy_(self._vector[own])
        self.memory.keep(client)
        torch.sub(self._vector, state.vector, out=self._updates[row])
        self._ends[row] = self._counters

    def see(self, state: ServerState, round: int, client: int, row: int = 0) -> None:
        """Have ``client``, in ``row``, draw labels from scores under ``state`` where it does so."""
        if self.federation.threat.wants_scores(client, round):
            self.model.eval()
            self._load(state)
            scores = logits(self.model, self.federation, client, self.dtype)
            self.scored.draw(client, round, row, scores)

    def settle(self) -> None:
        """Work out what has been noted of the clients that this process has trained."""
        rows = self._noted.numpy()
        for row, model, notes in self._waiting:
            rows[row] = self.witness.row(notes)
            rows[row, -1] = model
        self._waiting.clear()

    def cohort(self, clients: tuple[int, ...], round: int) -> Cohort:
        """The cohort whose rows have been trained in ``round``."""
        self.settle()
        federation = self.federation
        samples = tuple(len(federation.parts[c]) for c in clients)
        steps = tuple(federation.steps_of(c, round) for c in clients)
        return Cohort(
            clients=clients,
            updates=self._updates[: len(clients)],
            counters=self._ends[: len(clients)],
            samples=samples,
            steps=steps,
            normalizers=tuple(self._solver.normalizer(s) for s in steps),
            noted=self._noted[: len(clients)].numpy().copy(),
        )

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set, and on the probe set where there is one."""
        self._load(state)
        federation = self.federation
        score = evaluate(
            self.model,
            federation.test,
            federation.transform,
            federation.dataset.num_classes,
            federation.success_classes,
            self.dtype,
            self.witness.eye(),
        )
        return with_success(score, self.model, federation, self.dtype, self.witness.eye(True))

    def score(
        self, state: ServerState, split: Split, batch: slice, eye: Eye | None = None
    ) -> tuple[float, torch.Tensor]:
        """(sum of the losses, confusion matrix) of ``state`` on one batch of ``split``.

        ``eye`` notes what is scored.
        """
        self.model.eval()
        self._load(state)
        federation = self.federation
        images = federation.transform(split.images[batch]).to(self.dtype)
        classes = federation.dataset.num_classes
        loss, confusion = score_batch(self.model, images, split.labels[batch], classes, eye)
        return float(loss), confusion

    def close(self) -> None:
        """Nothing outlives a round."""

    def draw_secretly(self, secret: bool) -> None:
        """Have DP-SGD draw from the operating system's generator, or from the run's streams."""
        if self._private_steps is not None:
            self._private_steps.secret = secret

    def trained_model(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``(vector [D], counters [I])`` of the client that was trained last, until the next call.

        The model itself: global model plus update would round differently.
        """
        return self._vector, self._counters

    def own_layers(self, client: int) -> torch.Tensor | None:
        """The layers that ``client`` keeps between rounds (FedBN), [b]; None where it has none."""
        if self._own_layers is None or not self.memory.has(client):
            return None
        return self.memory.of(client)[LAYERS].clone()

    def set_own_layers(self, client: int, layers: torch.Tensor | None) -> None:
        """Have ``client`` keep ``layers`` [b] (FedBN); None makes it forget."""
        if self._own_layers is None:
            return
        self.memory.keep(client, layers is not None)
        if layers is not None:
            self.memory.of(client)[LAYERS].copy_(layers)

    def _load(self, state: ServerState) -> None:
        self._vector.copy_(state.vector)
        self._counters.copy_(state.counters)

    def _work(self, state: ServerState, round: int, client: int) -> None:
        """One client's local epochs, in place."""
        federation = self.federation
        weights = self._vector[self._trained]
        self._solver.start(state.vector[self._trained])
        for dropout in self._dropouts:
            dropout.seed(
                torch_stream(
                    federation.seed, Purpose.DROPOUT, round=round, client=client, device=self.device
                )
            )
        order = stream(federation.seed, Purpose.BATCH_ORDER, round=round, client=client)
        part = federation.threat.samples_of(client, round)
        believed = federation.threat.labels_of(client, round)
        bounds = batch_bounds(len(part), federation.scenario.batch_size)
        steps = federation.steps_of(client, round)
        if self._private_steps is not None:
            own = torch.from_numpy(part).to(self.device)

            def images_of(chosen: torch.Tensor) -> torch.Tensor:
                self.witness.claim(own[chosen])
                return self._images(own[chosen])

            self._private_steps.work(
                noise=(federation.seed, round, client),
                steps=steps,
                images=images_of,
                loss=self.witness.loss,
                labels=torch.from_numpy(believed).to(self.device),
                order=order,
                solver=self._solver,
                weights=weights,
                gradient=self._gradient,
            )
            return
        gradient = self._gradient[self._trained]
        rules = self._rules.begun(state, round, client, steps, self.memory)
        for first in range(0, steps, len(bounds)):
            taken = bounds[: steps - first]  # all, but where the last epoch is cut short
            shuffled = order.permutation(len(part))[: taken[-1][1]]
            samples = torch.from_numpy(part[shuffled]).to(self.device)
            labels = torch.from_numpy(believed[shuffled]).to(self.device)
            self.witness.claim(samples)
            for start, stop, images in self._batches(samples, taken):
                self._differentiate(images, labels[start:stop])
                for rule in rules:
                    rule.before(weights, gradient)
                self._solver.step(weights, gradient)
                for rule in rules:
                    if rule.after(weights):
                        self.witness.solver_log.jumped(weights)
        for rule in rules:
            rule.end(weights)

    def _differentiate(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """The gradient of the mean loss on one batch at the model's weights."""
        self._gradient.zero_()
        loss = self.witness.loss(self.model, images, labels)
        loss.backward()  # type: ignore[no-untyped-call]

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
            images = self._images(samples[begin:end])
            for start, stop in chunk:
                yield start, stop, images[start - begin : stop - begin]

    def _images(self, samples: torch.Tensor) -> torch.Tensor:
        """The transformed training images of ``samples`` [n]: [n, channels, *size]."""
        raw = self.federation.pool.index_select(0, samples)
        return self.federation.transform(raw).to(self.dtype)


@ENGINES.register("sequential", "one client after the other; the reference")
def sequential(federation: Federation, execution: Execution) -> Engine:
    """The engine that ``execution`` describes, in one process or in several."""
    device = execution.torch_device
    count = min(execution.processes, federation.scenario.cohort_size)
    if count > 1:
        require_fork(device)
    zeros = torch.zeros if count == 1 else shared_zeros
    engine = SequentialEngine(federation, device, execution.dtype, zeros=zeros)
    execution.cast_model(engine.model)
    return engine if count == 1 else ParallelEngine(engine, count, execution.worker_timeout)
