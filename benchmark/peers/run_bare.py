"""W1 by hand, the limit: one federation, the cohort shared by two processes of one thread each.

What a careful user would write with no framework: data normalised once and held in memory in
channels_last order, torch.optim.SGD, the average taken in shared memory. The same loop as
benchmark/bare_loop.py, whose two processes each train a federation of their own.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F

from . import w1

PROCESSES = 2


class Trainer:
    """Trains clients from a flat model."""

    def __init__(self) -> None:
        torch.manual_seed(w1.SEED)
        images, self.labels = w1.data()
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.model = w1.make_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, lr=w1.LR, momentum=w1.MOMENTUM)
        self.steps = 0

    def vector(self) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    def load(self, vector: torch.Tensor) -> None:
        start = 0
        for p in self.parameters:
            p.data.copy_(vector[start : start + p.numel()].view(p.shape))
            start += p.numel()

    def sum_of(self, clients: list[int], vector: torch.Tensor, round: int) -> torch.Tensor:
        """Sum of the clients' models, each weighted by its samples."""
        total = torch.zeros_like(vector)
        for client in clients:
            self.load(vector)
            self.optimizer.state.clear()
            shard = w1.shards()[client]
            order = np.random.default_rng((w1.SEED, round, client)).permutation(len(shard))
            shard = shard[torch.from_numpy(order)]
            for start in range(0, len(shard), w1.BATCH):
                chosen = shard[start : start + w1.BATCH]
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(self.images[chosen]), self.labels[chosen]).backward()
                self.optimizer.step()
                self.steps += 1
            total += len(shard) * self.vector()
        return total


def serve(trainer: Trainer, link: Connection, vector: torch.Tensor, sums: torch.Tensor) -> None:
    """The second process."""
    torch.set_num_threads(1)
    while (work := link.recv()) is not None:
        sums.copy_(trainer.sum_of(work[0], vector, work[1]))
        link.send(trainer.steps)


def main() -> None:
    """Train, then print the report."""
    torch.set_num_threads(1)
    trainer = Trainer()
    w1.shards()
    vector = trainer.vector().share_memory_()
    sums = torch.zeros_like(vector).share_memory_()
    context = multiprocessing.get_context("fork")  # shares data and imports; no threads run yet
    here, there = context.Pipe()
    helper = context.Process(target=serve, args=(trainer, there, vector, sums), daemon=True)
    helper.start()
    draw = np.random.default_rng(w1.SEED)
    sizes = [len(shard) for shard in w1.shards()]
    others = 0
    laps = w1.Laps()
    for round in range(w1.ROUNDS):
        cohort = [int(c) for c in draw.choice(w1.CLIENTS, w1.COHORT, replace=False)]
        here.send((cohort[1::PROCESSES], round))
        own = trainer.sum_of(cohort[::PROCESSES], vector, round)
        others = here.recv()
        vector.copy_((own + sums) / sum(sizes[c] for c in cohort))
        laps()
    here.send(None)
    helper.join()
    trainer.load(vector)
    w1.report(laps.seconds, trainer.steps + others, w1.digest(trainer.model))


if __name__ == "__main__":
    main()
