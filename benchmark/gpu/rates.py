"""Section (b): W1 by rounds/s and examples/s, alone by each engine, and in lockstep."""

from __future__ import annotations

from functools import partial
from typing import Any

from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run

from .measurements import Setting
from .profiles import profiled
from .workloads import w1

#: What was expected from measurements on CPUs and from bandwidth, as ratios of rounds/s.
EXPECTED = {"stacked / sequential": 10.0, "lockstep of 32 / stacked": 3.0}


def records_of(
    setting: Setting, scenario: Scenario, engine: str, count: int = 1, precision: str = "float32"
) -> list[Record]:
    """The records of ``count`` runs of ``scenario``, in lockstep where the engine stacks."""
    how: dict[str, Any] = {"data_dir": setting.data_dir, "device": setting.device}
    how.update(engine=engine, precision=precision)
    if engine == "sequential":
        return [run(scenario, seed, **how) for seed in range(count)]
    return run_lockstep([(scenario, seed) for seed in range(count)], **how)


def rates(setting: Setting) -> None:
    """Rounds/s and examples/s of whole runs, set-up and one evaluation included."""
    scenario = w1(setting)
    together = (2,) if setting.tiny else (8, 32)
    wanted = [("sequential", 1)]
    wanted += [(engine, count) for count in (1, *together) for engine in setting.engines]
    speed: dict[str, float] = {}
    for engine, count in wanted:
        name = engine if count == 1 else f"lockstep of {count}, {engine}"
        rate = setting.log.take("rates", name, partial(_rate, setting, scenario, engine, count))
        if rate is not None:
            speed[name] = rate["rounds/s"]
    largest = f"lockstep of {together[-1]}, stacked"
    for name, over in (("stacked", "sequential"), (largest, "stacked")):
        if name not in speed or over not in speed:
            continue
        ratio = speed[name] / speed[over]
        label = f"{name.removesuffix(', stacked')} / {over}"
        expected = EXPECTED.get(label)
        setting.log.note("rates", label, {"ratio": ratio, "expected at least": expected})
        if expected is not None and ratio < expected:
            count = together[-1] if name == largest else 1
            profile = partial(
                profiled, setting, partial(records_of, setting, scenario, "stacked", count)
            )
            setting.log.take("rates", f"profile of {name}", profile)


def _rate(setting: Setting, scenario: Scenario, engine: str, count: int) -> dict[str, float]:
    records_of(setting, scenario.but(rounds=1, eval_every=1), engine, count)  # kernels and memory
    records, taken = setting.timed(partial(records_of, setting, scenario, engine, count))
    examples, rounds = sum(record.examples for record in records), count * scenario.rounds
    training = sum(record.timings.train for record in records)
    return {
        "rounds/s": rounds / taken["seconds"],
        "examples/s": examples / taken["seconds"],
        "examples/s of training alone": examples / training,
        **taken,
    }
