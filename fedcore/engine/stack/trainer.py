"""Training many clients as one network, in blocks that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fedcore.data.transforms import Transform
from fedcore.engine.stack.balls import balls_of
from fedcore.engine.stack.network import StackedNetwork
from fedcore.engine.stack.pool import Pool, distinct
from fedcore.engine.stack.schedule import LocalTask, Schedule
from fedcore.engine.stack.step import Batch, Recorder, Steps, unwatched
from fedcore.engine.stack.witness import StackWitness
from fedcore.optimizers.solvers import Solver
from fedcore.streams import Purpose, torch_stream


class StackedTrainer:
    """Trains tasks of one architecture, batch size and solver, whatever runs they belong to.

    ``network`` computes on ``device`` with weights of type ``dtype``. At most ``limit`` clients
    train at once; torch.OutOfMemoryError halves that for good, and what did not fit is trained
    again. ``record``: see `Steps`.
    """

    def __init__(
        self,
        network: StackedNetwork,
        solver: Solver,
        limit: int,
        device: torch.device,
        dtype: torch.dtype,
        record: Recorder | None = None,
    ) -> None:
        self.limit = limit
        self._steps = Steps(network, record)
        self._network, self._layout, self._solver = network, network.layout, solver
        self._watched = solver
        self._dtype, self._device = dtype, device
        self._pool: Pool | None = None
        self._witness: StackWitness | None = None
        self._allocate(0)

    def train(self, tasks: Sequence[LocalTask]) -> tuple[int, ...]:
        """Have every task loaded, trained and stored; their local steps."""
        steps: list[int] = []
        while len(steps) < len(tasks):
            block = tasks[len(steps) : len(steps) + self.limit]
            try:
                done = self._train(block)
            except torch.OutOfMemoryError:
                if len(block) == 1:
                    raise
                done = None  # and on, out of this clause: the error holds on to the tensors
            if done is None:
                self.limit = len(block) // 2
                self.give_back()
            else:
                steps += done
        return tuple(steps)

    def _train(self, tasks: Sequence[LocalTask]) -> list[int]:
        if len(self._vectors) < len(tasks):
            self._allocate(len(tasks))
        pool = self._pooled(tasks)
        schedule = Schedule.of(tasks, self._device, pool)
        rows = [tasks[place] for place in schedule.order]
        for row, task in enumerate(rows):
            task.load(self._vectors[row], self._counters[row])
        self._witness = witness = StackWitness(rows, schedule, self._device, pool.known)
        models = witness.models(self._vectors, self._counters)
        self._steps.watch = witness.see
        self._watched = witness.log.watched(self._solver)
        self._work(rows, schedule, pool)
        self._steps.watch = unwatched
        noted = witness.noted(models)
        self._witness = None  # with what it has noted on the device
        for row, task in enumerate(rows):
            task.store(self._vectors[row], self._counters[row])
            task.note(noted[row])
        steps = dict(zip(schedule.order, schedule.steps, strict=True))
        return [steps[place] for place in range(len(tasks))]

    def _pooled(self, tasks: Sequence[LocalTask]) -> Pool:
        """The images that ``tasks`` train on; the last ones, where they are the same."""
        federations = distinct([task.federation for task in tasks])
        pool = self._pool
        if pool is None or not pool.holders or not pool.holds(federations):
            self._pool = None  # before another one is made: both take memory
            self._pool = pool = Pool(federations, self._device)
        return pool

    def _work(self, rows: Sequence[LocalTask], schedule: Schedule, pool: Pool) -> None:
        """All local steps of ``rows``, in place."""
        solver = self._watched
        parameters = self._layout.num_parameters
        weights = self._vectors[: len(rows), :parameters]
        balls = balls_of(rows, schedule.steps, weights)
        witness = self._witness
        assert witness is not None, "training is witnessed"
        look = None if balls is None else witness.look(weights)
        # only the proximal term looks back at where the clients began
        solver.start(weights.clone() if solver.mu else weights)
        self._network.context.generators = [
            [self._stream(task) for task in rows] for _ in self._network.context.generators
        ]
        active = 0
        for step, sizes in enumerate(schedule.sizes):
            now = sum(steps > step for steps in schedule.steps)
            if now != active:
                active = now
                solver.keep(active)
                gradient = self._gradients[:active]
                self._network.bind(self._vectors[:active], self._counters[:active], gradient)
            batch = sizes[:active]
            longest = int(batch.max())
            self._backward(
                rows[0].federation.transform,
                pool.images,
                batch,
                schedule.samples[step, :active, :longest],
                schedule.labels[step, :active, :longest],
            )
            solver.step(weights[:active], gradient)
            if balls is not None and look is not None:
                look.stepped(weights[:active])
                if balls.project(weights[:active], step + 1):
                    witness.log.jumped(weights[:active])
                look.projected(weights[:active])

    def _backward(
        self,
        transform: Transform,
        pool: torch.Tensor,
        sizes: npt.NDArray[np.int64],
        samples: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:
        """Write the gradient of each client's mean loss over its batch, [K, batch] samples."""
        clients, longest = samples.shape
        raw = pool.index_select(0, samples.t().flatten())
        images = transform(raw).to(self._dtype)
        share = counts = None
        if sizes.min() < longest:
            own = torch.from_numpy(np.arange(longest) < sizes[:, None]).to(self._device)
            counts = torch.from_numpy(sizes).to(self._device, self._dtype)
            share = own / counts.unsqueeze(1)
        images = images.view(longest, clients, *images.shape[1:])
        self._steps(Batch(images, labels, tuple(sizes.tolist()), share, counts))

    def _stream(self, task: LocalTask) -> torch.Generator:
        return torch_stream(
            task.federation.seed,
            Purpose.DROPOUT,
            round=task.round,
            client=task.client,
            device=self._device,
        )

    def _allocate(self, clients: int) -> None:
        self._steps.forget()
        layout, nothing = self._layout, torch.empty(0, dtype=self._dtype, device=self._device)
        self._vectors = nothing.new_empty(clients, layout.size)
        self._gradients = nothing.new_empty(clients, layout.num_parameters)
        self._counters = nothing.new_empty(clients, layout.num_counters, dtype=torch.int64)

    def give_back(self) -> None:
        """Free what training keeps between rounds; the next block allocates it anew."""
        self._allocate(0)
        self._pool = self._witness = None
        # the network and the solver would still look at, and so hold, what was given back
        self._network.bind(self._vectors, self._counters, self._gradients)
        self._solver.start(self._vectors)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
