"""Sections of benchmark.gpu about training: exactness, ratio, lockstep, study."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.federation.federation import Federation
from fedcore.models.dropout import StreamDropout
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.scenario.presets import preset
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run
from fedcore.streams import Purpose, torch_stream

from .measurements import Setting


def w1(setting: Setting) -> Scenario:
    """W1, the workload of the CPU's throughput test, on real images."""
    if setting.tiny:
        small = {"dataset": "synthetic:500", "rounds": 2, "eval_every": 2, "num_clients": 10}
        return preset("w1").but(**small)
    return preset("w1")


def mobilenet(setting: Setting) -> Scenario:
    """W1's federation of MobileNetV2 at 32 pixels, batches of 64."""
    if setting.tiny:
        return w1(setting).but(model="cnn", norm="batch", batch_size=64)
    return preset("w1").but(model="mobilenet_v2", image_size=32, batch_size=64)


def workloads(setting: Setting) -> tuple[tuple[str, Scenario], ...]:
    """W1 and MobileNetV2."""
    return ("w1", w1(setting)), ("mobilenet", mobilenet(setting))


def exactness(setting: Setting) -> None:
    """Relative distance to the sequential engine's updates of one round."""

    def gap(scenario: Scenario, engine: str, precision: str) -> float:
        exact = _updates(setting, scenario, "sequential", precision)
        own = _updates(setting, scenario, engine, precision)
        return float((own - exact).norm() / exact.norm())

    for name, scenario in workloads(setting):
        for precision in ("float64", "float32"):
            for engine in setting.engines:
                measure = partial(gap, scenario, engine, precision)
                setting.log.take("exactness", f"{name} {engine} {precision}", measure)


def _updates(setting: Setting, scenario: Scenario, engine: str, precision: str) -> torch.Tensor:
    execution = Execution(engine, setting.device, precision)
    with execution.arithmetic():
        federation = Federation.prepare(scenario, 0, setting.data_dir, execution.torch_device)
        made = ENGINES[engine](federation, execution)
        return made.train(made.initial_state(), 1, federation.cohort(1)).updates.clone()


def ratio(setting: Setting) -> None:
    """Seconds of training per round of the engines in turns; the medians of their ratios."""

    def seconds(scenario: Scenario, turn: int, engine: str) -> float:
        return _run(setting, scenario, turn, engine).timings.train / scenario.rounds

    for name, scenario in workloads(setting):
        taken: dict[str, list[float]] = {e: [] for e in ("sequential", *setting.engines)}
        for turn in range(2 if setting.tiny else 6):  # the first one warms up
            for engine in tuple(taken):
                measure = partial(seconds, scenario, turn, engine)
                found = setting.log.take("ratio", f"{name}, {engine}, turn {turn}", measure)
                if found is None:
                    del taken[engine]
                elif turn:
                    taken[engine].append(found)
        reference = taken.pop("sequential", [])
        for engine, times in taken.items():
            if reference:
                median = statistics.median(a / b for a, b in zip(times, reference, strict=True))
                setting.log.note("ratio", f"{name}, {engine} / sequential", median)


def lockstep(setting: Setting) -> None:
    """Training images/s of runs in lockstep, and the share of central training in large batches."""
    scenario, counts = mobilenet(setting), (1, 2) if setting.tiny else (1, 4, 16, 32)

    def rate(engine: str, count: int) -> float:
        runs = [(scenario, seed) for seed in range(count)]
        how = {"data_dir": setting.data_dir, "device": setting.device, "engine": engine}
        records = run_lockstep(runs, **how)
        return sum(r.examples for r in records) / sum(r.timings.train for r in records)

    batch = 128 if setting.tiny else 4096
    central = setting.log.take("lockstep", "central", partial(_central, setting, scenario, batch))
    for engine in setting.engines:
        shares: dict[str, float] = {}
        for count in counts:
            name = f"{count} runs, {engine}"
            found = setting.log.take("lockstep", name, partial(rate, engine, count))
            if found is not None and central:
                shares[f"{count} runs"] = found / central
        if shares:
            best = max(shares, key=lambda count: shares[count])
            told = {**shares, "best": shares[best], "best at": best}
            setting.log.note("lockstep", f"share of central, {engine}", told)


def study(setting: Setting) -> None:
    """The published run by each engine; in tiny a small federation in its place."""
    scenario = w1(setting) if setting.tiny else preset("study-fedavg")

    def published(engine: str) -> dict[str, Any]:
        begun = setting.now()
        record = _run(setting, scenario, 0, engine)
        return {
            "seconds": setting.now() - begun,
            "train seconds": record.timings.train,
            "evaluate seconds": record.timings.evaluate,
            "training images": record.examples,
            "training images/s": record.examples / record.timings.train,
            "tail accuracy": record.tail_accuracy,
        }

    for engine in setting.engines:
        setting.log.take("study", engine, partial(published, engine))


def _run(setting: Setting, scenario: Scenario, seed: int, engine: str) -> Record:
    where = {"data_dir": setting.data_dir, "device": setting.device}
    return run(scenario, seed, engine=engine, **where)


def _central(setting: Setting, scenario: Scenario, batch: int) -> float:
    """Images/s of plain SGD on all training images, in the same model and precision."""
    execution = Execution("sequential", setting.device)
    device = execution.torch_device
    with execution.arithmetic():
        federation = Federation.prepare(scenario, 0, setting.data_dir, device)
        model = federation.initial_model().to(device, memory_format=torch.channels_last)
        for module in model.modules():
            if isinstance(module, StreamDropout):
                module.seed(torch_stream(0, Purpose.DROPOUT, device=device))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        labels = federation.dataset.train.labels.to(device)
        steps, begun = (2, 1) if setting.tiny else (30, 5)
        for step in range(steps):
            if step == begun:
                started = setting.now()
            chosen = torch.randint(len(labels), (batch,), device=device)
            images = federation.transform(federation.train_images[chosen])
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels[chosen]).backward()
            optimizer.step()
        return batch * (steps - begun) / (setting.now() - started)
