"""The reference of the throughput suite: a bare PyTorch loop in one-thread processes.

What a careful user would write by hand for federated averaging with no framework at all: the data
normalised once and held in memory in channels_last order, torch.optim.SGD, one process a core, or
one process that has a GPU. Beside it the limit of any federated training: one model on the same
data in large batches. Nothing of fedcore is used, so that fedcore cannot make its own yardstick
slow; torchvision alone is imported through it, past a mismatch of builds.

    python -m benchmark.bare_loop FILE.npz ROUNDS [cuda]    from a cold start, in two processes,
                                                            on a GPU in one
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def small_cnn(channels: int, classes: int, side: int = 28) -> nn.Module:
    """Convolutions of 16 and 32 channels and 64 hidden units, for ``side`` x ``side`` pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (side // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def mobilenet(classes: int) -> nn.Module:
    """MobileNetV2 as torchvision builds it, with a head for ``classes``."""
    from fedcore.models.torchvision_import import import_torchvision

    network: nn.Module = import_torchvision().models.mobilenet_v2(num_classes=classes)
    return network


@dataclass(frozen=True)
class Setting:
    """What is trained. Travels to the processes.

    Images [n, h, w, 1 or 3] uint8 become ``size`` pixels a side and ``channels`` deep once, before.
    ``large`` is the batch of central training.
    """

    images: np.ndarray
    labels: np.ndarray
    make: Callable[[], nn.Module]
    size: int | None = None
    channels: int | None = None
    device: str = "cpu"
    clients: int = 50
    cohort: int = 10
    batch: int = 32
    large: int = 256


class Trainer:
    """One model on IID shards in one process: SGD 0.01 momentum 0.9, one local epoch."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        if setting.device == "cuda":  # float32 as fedcore means it: no factors of 10 bits
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.benchmark = True
        pixels = torch.from_numpy(setting.images).permute(0, 3, 1, 2).float()
        pixels = pixels.div_(255).sub_(0.5).div_(0.5)
        if setting.size is not None:
            pixels = F.interpolate(pixels, (setting.size,) * 2, mode="bilinear", antialias=True)
        if setting.channels is not None:
            pixels = pixels.expand(-1, setting.channels, -1, -1)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        self.pixels = pixels.to(setting.device)
        self.labels = torch.from_numpy(setting.labels).to(setting.device)
        self.generator = np.random.default_rng(0)
        order = self.generator.permutation(len(setting.labels))
        self.shards = [
            torch.from_numpy(shard).to(setting.device)
            for shard in np.array_split(order, setting.clients)
        ]
        self.model = setting.make().to(device=setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def federated(self, rounds: int) -> None:
        """Federated averaging."""
        setting = self.setting
        state = self._copy()
        for _ in range(rounds):
            ends = []
            for client in self.generator.choice(setting.clients, setting.cohort, replace=False):
                self.model.load_state_dict(state)
                self.optimizer.state.clear()
                shard = self.shards[client]
                shard = shard[torch.randperm(len(shard), device=setting.device)]
                for start in range(0, len(shard), setting.batch):
                    self._step(shard[start : start + setting.batch])
                ends.append(self._copy())
            state = {
                name: torch.stack([end[name] for end in ends]).float().mean(0).to(tensor.dtype)
                for name, tensor in state.items()
            }
        self.model.load_state_dict(state)

    def central(self, steps: int) -> None:
        """Steps of one model on samples drawn from all the data, ``large`` at a time."""
        setting = self.setting
        for _ in range(steps):
            self._step(torch.randint(len(self.labels), (setting.large,), device=setting.device))

    def _step(self, chosen: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.pixels[chosen]), self.labels[chosen]).backward()
        self.optimizer.step()

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


class BareLoop:
    """The loop in ``processes`` processes at once; each trains a federation of its own."""

    def __init__(self, setting: Setting, processes: int = 2, *, warm: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self.setting = setting
        self._links: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, setting), daemon=True)
            process.start()
            there.close()  # a process that dies is then an EOFError, not a wait without end
            self._links.append(here)
            self._processes.append(process)
        if warm:
            self.seconds_per_round(1)  # imports, first optimizer, memory

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes."""
        return tuple(process.pid or 0 for process in self._processes)

    def seconds_per_round(self, rounds: int) -> float:
        """Wall time of ``rounds`` rounds in every process, over all the rounds made."""
        return self._seconds("federated", rounds) / (rounds * len(self._links))

    def central_seconds(self, examples: float) -> float:
        """Wall time of central training on about ``examples`` examples, scaled to as many."""
        large = self.setting.large
        steps = max(2, round(examples / (large * len(self._links))))
        return self._seconds("central", steps) * examples / (large * steps * len(self._links))

    def _seconds(self, work: str, count: int) -> float:
        begun = time.perf_counter()
        for link in self._links:
            link.send((work, count))
        for link in self._links:
            link.recv()
        return time.perf_counter() - begun

    def close(self) -> None:
        """End the processes."""
        for link, process in zip(self._links, self._processes, strict=True):
            link.send(None)
            process.join()


def _serve(link: Connection, setting: Setting) -> None:
    torch.set_num_threads(1)
    trainer = Trainer(setting)
    while (task := link.recv()) is not None:
        work, count = task
        getattr(trainer, work)(count)
        if setting.device == "cuda":
            torch.cuda.synchronize()
        link.send(None)


def main(path: str, rounds: str, device: str = "cpu") -> None:
    """W1 on the training samples in ``path``; on the CPU in two processes, half of it in each."""
    with np.load(path) as file:
        images, labels = file["train_images"], file["train_labels"].reshape(-1).astype(np.int64)
    make = functools.partial(small_cnn, images.shape[3], int(labels.max()) + 1)
    processes = 1 if device == "cuda" else 2
    bare = BareLoop(Setting(images, labels, make, device=device), processes, warm=False)
    print(f"{bare.seconds_per_round(int(rounds) // processes):.4f} s a round")
    bare.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
