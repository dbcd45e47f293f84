"""Section (e), second half: one run of the study as published."""

from __future__ import annotations

from functools import partial
from typing import Any

from fedcore.scenario.presets import preset

from .measurements import Setting
from .rates import records_of
from .workloads import study_data, w1


def study(setting: Setting) -> None:
    """The published run, 100 rounds of MobileNetV2 at 224 pixels, by each stacked engine.

    In tiny a small federation in its place.
    """
    scenario = w1(setting) if setting.tiny else study_data(setting, preset("study-fedavg"))

    def published(engine: str) -> dict[str, Any]:
        records, taken = setting.timed(partial(records_of, setting, scenario, engine))
        (record,) = records
        return {
            **taken,
            "train seconds": record.timings.train,
            "evaluate seconds": record.timings.evaluate,
            "training images": record.examples,
            "training images/s": record.examples / record.timings.train,
            "rounds": scenario.rounds,
            "weights": scenario.weights,
            "tail accuracy": record.tail_accuracy,
        }

    for engine in setting.engines:
        setting.log.take("study", engine, partial(published, engine))
