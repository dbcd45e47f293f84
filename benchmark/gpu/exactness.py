"""Section (a): the stacked engines against the sequential one, after one round on the device."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario

from .measurements import Setting
from .workloads import mobilenet, w1

#: The largest relative distance of a cohort's updates that is expected, by precision. Behind batch
#: normalisation rounding grows, so that float32 has no more than three digits.
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}


def exactness(setting: Setting) -> None:
    """Relative distance to the sequential engine's updates of one round, cnn and MobileNetV2."""
    for name, scenario in (("cnn", w1(setting)), ("mobilenet", mobilenet(setting, 32))):
        for precision in TOLERANCE:
            for engine in setting.engines:
                measure = partial(_distance, setting, scenario, engine, precision)
                setting.log.take("exactness", f"{name} {engine} {precision}", measure)


def _distance(setting: Setting, scenario: Scenario, engine: str, precision: str) -> dict[str, Any]:
    exact = _updates(setting, scenario, "sequential", precision)
    own = _updates(setting, scenario, engine, precision)
    distance = float((own - exact).norm() / exact.norm())
    tolerance = TOLERANCE[precision]
    return {"distance": distance, "tolerance": tolerance, "holds": distance <= tolerance}


def _updates(setting: Setting, scenario: Scenario, engine: str, precision: str) -> torch.Tensor:
    execution = Execution(engine, setting.device, precision)
    with execution.arithmetic():
        federation = Federation.prepare(scenario, 0, setting.data_dir, execution.torch_device)
        trainer = ENGINES[engine](federation, execution)
        return trainer.train(trainer.initial_state(), 1, federation.cohort(1)).updates.clone()
