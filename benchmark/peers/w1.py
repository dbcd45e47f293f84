"""W1, the workload that every system trains.

bloodmnist at 28 x 28 pixels, 50 IID clients, 10 a round, one local epoch in batches of 32, SGD 0.01
with momentum 0.9, the small CNN, 10 rounds, no evaluation. A client has 239 or 240 samples: 8
steps an epoch, 800 steps in all. Needs torch and numpy only, as adapters run in the
environments of the systems.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from ..bare_loop import small_cnn
from .laps import SEED
from .laps import Laps as Laps
from .laps import report as report

ROUNDS, CLIENTS, COHORT, BATCH, LR, MOMENTUM = 10, 50, 10, 32, 0.01, 0.9
CLASSES = 8


# a library takes its declarations back when it is collected
_KEPT: list[torch.library.Library] = []


def declare_torchvision_operators() -> None:
    """Let a torchvision built for CUDA be imported beside a CPU build of torch.

    Its import asks for two operators of object detection that its own extension cannot load then.
    """
    missing = [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _KEPT.append(library)


@functools.cache
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images [11959, 3, 28, 28] in [-1, 1] and labels [11959], from $W1_DATA/bloodmnist.npz."""
    with np.load(Path(os.environ["W1_DATA"]) / "bloodmnist.npz") as file:
        pixels = torch.from_numpy(file["train_images"]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(file["train_labels"].astype(np.int64).reshape(-1))
    return pixels.float().div_(255).sub_(0.5).div_(0.5).contiguous(), labels


@functools.cache
def shards() -> list[torch.Tensor]:
    """The sample indices of each client."""
    order = np.random.default_rng(SEED).permutation(len(data()[1]))
    return [torch.from_numpy(part) for part in np.array_split(order, CLIENTS)]


def make_model() -> nn.Module:
    """The CNN, 106,024 parameters; the weights depend on torch's global seed."""
    return small_cnn(3, CLASSES)


class StepCounter:
    """Counts the steps of every torch.optim optimizer of this process from now on."""

    def __init__(self) -> None:
        self.steps = 0
        register_optimizer_step_post_hook(self._count)

    def _count(self, *_: object) -> None:
        self.steps += 1


def digest(model: nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 over the parameters."""
    sha = hashlib.sha256()
    for tensor in model.state_dict().values():
        sha.update(tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
