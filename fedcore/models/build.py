"""From a scenario to the initial model of a run: the same one on every device and in every arm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.base import MODELS, Architecture
from fedcore.models.dropout import adopt_streams
from fedcore.models.weights import weights_file
from fedcore.streams import Purpose, torch_seed

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


def build_model(
    scenario: Scenario,
    *,
    num_classes: int,
    channels: int,
    size: tuple[int, int],
    seed: int,
    data_dir: Path,
) -> nn.Module:
    """The initial model of run (``scenario``, ``seed``), on the CPU and in training mode.

    It maps images [batch, channels, *size] to logits [batch, num_classes]. Its dropout layers
    are `StreamDropout`, which must be given generators before training. torch's generators are
    left as they were. ``data_dir`` is where 'imagenet' weights are looked for and kept.
    Raises `ModelError` for images that the model cannot take and weights that do not fit.
    """
    architecture = MODELS[scenario.model]
    _check_input(scenario.model, architecture, channels, size)
    weights = weights_file(scenario.weights, scenario.model, data_dir)
    # Built on the CPU: other devices draw other numbers from the same seed. torch.manual_seed
    # would reseed those devices as well, which fork_rng does not undo here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(torch_seed(seed, Purpose.INITIAL_WEIGHTS))
        network = architecture.build(
            num_classes=num_classes,
            channels=channels,
            size=size,
            norm=scenario.norm or "none",  # None: an architecture that does not read the field
            weights=weights,
        )
    adopt_streams(network)
    return network.train()


def _check_input(
    name: str, architecture: type[Architecture], channels: int, size: tuple[int, int]
) -> None:
    shape = f"{channels}x{size[0]}x{size[1]}"
    if architecture.channels not in (None, channels):
        raise ModelError(
            f"model {name!r} takes images of {architecture.channels} channels, got {shape}: set "
            "grayscale, which repeats grey on 3 channels, or choose a model that takes any number"
        )
    if min(size) < architecture.smallest:
        raise ModelError(
            f"model {name!r} takes images of {architecture.smallest} pixels a side or more, got "
            f"{shape}: raise image_size or choose another model"
        )
