"""From a scenario to the initial model of a run: the same one on every device and in every arm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.architecture import Architecture
from fedcore.models.draws import drawing_from, require_repeatable, seed_forward
from fedcore.models.dropout import adopt_streams
from fedcore.models.weights import weights_file
from fedcore.streams import Purpose, torch_seed

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_repeatable: set[tuple[Any, ...]] = set()  # networks of other packages, tried in this process


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
    are `StreamDropout`, which must be given generators before training; so must a network of
    another package be, whose every forward is seeded from them: see `fedcore.models.draws`. Global
    generators are left as they were. ``data_dir`` is where 'imagenet' weights are looked for and
    kept.
    Raises `ModelError` for images that the model cannot take, weights that do not fit and a forward
    that cannot be repeated.
    """
    architecture = scenario.parts.model
    _check_input(scenario.model, architecture, channels, size)
    weights = weights_file(scenario.weights, scenario.model, data_dir)
    norm = scenario.norm or "none"  # None: an architecture that does not read the field

    def build() -> nn.Module:
        # Built on the CPU: other devices draw other numbers from the same seed.
        word = torch_seed(seed, Purpose.INITIAL_WEIGHTS)
        with drawing_from(word), torch.device("cpu"):
            network: nn.Module = architecture.build(
                num_classes=num_classes, channels=channels, size=size, norm=norm, weights=weights
            )
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"model {scenario.model!r} must build a torch.nn.Module, got "
                f"{type(network).__name__}: return it from build"
            )
        adopt_streams(network)
        return network.train()

    network = build()
    if architecture.__module__.partition(".")[0] != "fedcore":
        key = (architecture, num_classes, channels, size, norm, weights)
        if key not in _repeatable:
            require_repeatable(scenario.model, build, channels, size, num_classes)
            _repeatable.add(key)
        seed_forward(network, seed)
    return network


def _check_input(
    name: str, architecture: Architecture, channels: int, size: tuple[int, int]
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
