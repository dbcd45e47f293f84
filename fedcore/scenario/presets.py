"""Presets: named scenarios, such as the two arms of the study exactly as they were run.

The study: Soubih et al., "Towards Robust Federated Learning: Investigating Poisoning Attacks Under
Clients Data Heterogeneity", IMCOM 2025. Its arms differ in the local solver and the epochs; both
have a plain FedAvg server. The arm that was published as FedNova sent normalisation statistics and
ignored them, so that `study-fednova` is FedAvg over proximal SGD: for the algorithm FedNova name
``strategy="fednova"``.

What varies within the study comes as changes (flags of ``fedcore run``). Poisoned: labelflip with
``redraw=True``, as the study drew new labels at every participation. Dirichlet: alpha 0.9, 0.3 or
0.1 with ``partition_seed=123``. Pathological: 7, 4 or 2 classes per client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fedcore.errors import UnknownNameError
from fedcore.scenario import Scenario


@dataclass(frozen=True)
class Preset:
    """A named scenario: what it is, and the fields in which it differs from ``Scenario()``."""

    summary: str
    values: Mapping[str, Any]

    def scenario(self) -> Scenario:
        """The scenario, validated."""
        return Scenario(**self.values)


_STUDY: Final[dict[str, Any]] = {
    "dataset": "bloodmnist",
    "image_size": 224,
    "grayscale": True,
    "normalize": "imagenet",
    "model": "mobilenet_v2",
    "weights": "imagenet",
    "partition": "iid",
    "num_clients": 50,
    "fraction_train": 0.1,
    "rounds": 100,
    "validation_fraction": 0.1,
    "batch_size": 64,
    "strategy": "fedavg",
}

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "study-fedavg": Preset(
            "the study's FedAvg arm: Adam, 2 local epochs; add --redraw when attacked",
            {**_STUDY, "optimizer": "adam", "lr": 1e-3, "local_epochs": 2},
        ),
        "study-fednova": Preset(
            "the study's arm named FedNova, in fact proximal SGD with 1 to 4 epochs and a FedAvg "
            "server; add --redraw when attacked",
            {
                **_STUDY,
                "optimizer": "proximal",
                "lr": 0.01,
                "mu": 0.005,
                "weight_decay": 1e-4,
                "local_epochs": (1, 4),
            },
        ),
        "w1": Preset(
            "throughput workload: 10 rounds of 10 out of 50 clients, evaluated once",
            {
                "dataset": "bloodmnist",
                "model": "cnn",
                "num_clients": 50,
                "fraction_train": 0.2,
                "rounds": 10,
                "eval_every": 10,
                "optimizer": "momentum",
                "lr": 0.01,
                "momentum": 0.9,
                "local_epochs": 1,
                "batch_size": 32,
            },
        ),
    }
)


def preset(name: str) -> Scenario:
    """The scenario called ``name``; UnknownNameError offers the nearest known name.

    >>> preset("study-fednova").strategy
    'fedavg'
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    return PRESETS[name].scenario()
