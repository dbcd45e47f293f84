"""The federations that are measured, on the data that the machine has."""

from __future__ import annotations

from typing import Any

from fedcore.scenario import Scenario
from fedcore.scenario.presets import preset

from .measurements import Setting

#: As many images as BloodMNIST's training split, and of its size.
SYNTHETIC = {"dataset": "synthetic:12000", "grayscale": False}


def data(setting: Setting) -> dict[str, Any]:
    """Changes of a scenario: BloodMNIST where its file is there, else generated images.

    Nothing is downloaded: a machine with a GPU may have no net.
    """
    if setting.tiny:
        return {"dataset": "synthetic:500"}
    return {} if (setting.data_dir / "bloodmnist.npz").exists() else dict(SYNTHETIC)


def w1(setting: Setting, rounds: int = 10) -> Scenario:
    """W1, the workload of the CPU's throughput test: 50 clients, 10 a round, the small CNN."""
    if setting.tiny:
        small = {"rounds": 2, "eval_every": 2, "num_clients": 10}
        return preset("w1").but(**data(setting), **small)
    return preset("w1").but(rounds=rounds, eval_every=rounds, **data(setting))


def mobilenet(setting: Setting, pixels: int, rounds: int = 3) -> Scenario:
    """W1's federation of MobileNetV2 at ``pixels`` a side, batches of 64."""
    if setting.tiny:
        return w1(setting).but(model="cnn", norm="batch", batch_size=64)
    how = {"model": "mobilenet_v2", "image_size": pixels, "batch_size": 64}
    return w1(setting, rounds).but(**how)


def study_data(setting: Setting, scenario: Scenario) -> Scenario:
    """``scenario`` of the study on the data and the weights that are there."""
    changes = data(setting)
    if scenario.weights is not None and not any(setting.data_dir.glob("mobilenet_v2-*.pth")):
        changes["weights"] = None
    return scenario.but(**changes)
