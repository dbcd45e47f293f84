"""The reference of the throughput suite: a bare PyTorch loop in one-thread processes.

What a careful user would write by hand for federated averaging with no framework at all: the data
normalised once and held in memory in channels_last order, torch.optim.SGD, one process a core.
Nothing of fedcore is used, so that fedcore cannot make its own yardstick slow; torchvision alone
is imported through it, past a mismatch of builds.

    python -m benchmark.bare_loop FILE.npz ROUNDS    from a cold start, in two processes
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def small_cnn(channels: int, classes: int) -> nn.Module:
    """Convolutions of 16 and 32 channels and 64 hidden units, for 28 x 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def mobilenet(classes: int) -> nn.Module:
    """MobileNetV2 as torchvision builds it, with a head for ``classes``."""
    from fedcore.models.torchvision_import import import_torchvision

    network: nn.Module = import_torchvision().models.mobilenet_v2(num_classes=classes)
    return network


def federated_averaging(
    make: Callable[[], nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    rounds: int,
    clients: int = 50,
    cohort: int = 10,
    batch: int = 32,
) -> float:
    """Seconds for ``rounds`` rounds on IID shards, one local epoch, SGD 0.01 momentum 0.9."""
    generator = np.random.default_rng(0)
    shards = [
        torch.from_numpy(shard)
        for shard in np.array_split(generator.permutation(len(labels)), clients)
    ]
    model = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    begun = time.perf_counter()
    for _ in range(rounds):
        ends = []
        for client in generator.choice(clients, cohort, replace=False):
            model.load_state_dict(state)
            optimizer.state.clear()
            shard = shards[client][torch.randperm(len(shards[client]))]
            for start in range(0, len(shard), batch):
                chosen = shard[start : start + batch]
                optimizer.zero_grad()
                F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimizer.step()
            ends.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        state = {
            name: torch.stack([end[name] for end in ends]).float().mean(0).to(tensor.dtype)
            for name, tensor in state.items()
        }
    return time.perf_counter() - begun


class BareLoop:
    """The loop in ``processes`` processes at once; each trains a federation of its own.

    Images [n, h, w, 1 or 3] uint8 become ``size`` pixels a side and ``channels`` deep once, before.
    ``federation`` holds the number of clients, of the cohort and of a batch's samples.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        make: Callable[[], nn.Module],
        processes: int = 2,
        *,
        size: int | None = None,
        channels: int | None = None,
        warm: bool = True,
        **federation: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._links: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(there, images, labels, make, size, channels, federation),
                daemon=True,
            )
            process.start()
            self._links.append(here)
            self._processes.append(process)
        if warm:
            self.seconds_per_round(1)  # imports, first optimizer, memory

    def seconds_per_round(self, rounds: int) -> float:
        """Wall time of ``rounds`` rounds in every process, over all the rounds made."""
        begun = time.perf_counter()
        for link in self._links:
            link.send(rounds)
        for link in self._links:
            link.recv()
        return (time.perf_counter() - begun) / (rounds * len(self._links))

    def close(self) -> None:
        """End the processes."""
        for link, process in zip(self._links, self._processes, strict=True):
            link.send(0)
            process.join()


def _serve(
    link: Connection,
    images: np.ndarray,
    labels: np.ndarray,
    make: Callable[[], nn.Module],
    size: int | None,
    channels: int | None,
    federation: dict[str, int],
) -> None:
    torch.set_num_threads(1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
    if size is not None:
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    if channels is not None:
        pixels = pixels.expand(-1, channels, -1, -1)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels)
    while rounds := link.recv():
        link.send(federated_averaging(make, pixels, targets, rounds=rounds, **federation))


def main(path: str, rounds: str) -> None:
    """W1 in two processes on the training samples in ``path``, half of the rounds in each."""
    with np.load(path) as file:
        images, labels = file["train_images"], file["train_labels"].reshape(-1).astype(np.int64)
    make = functools.partial(small_cnn, images.shape[3], int(labels.max()) + 1)
    bare = BareLoop(images, labels, make, warm=False)
    print(f"{bare.seconds_per_round(int(rounds) // 2):.4f} s a round")
    bare.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
