"""Section (c): MobileNetV2 in lockstep, as a share of central training in large batches."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from fedcore.engine.execution import Execution
from fedcore.federation.federation import Federation
from fedcore.models.dropout import StreamDropout
from fedcore.scenario import Scenario
from fedcore.streams import Purpose, torch_stream

from .measurements import Setting
from .profiles import profiled
from .rates import records_of
from .workloads import mobilenet

#: Pixels a side: batch of central training, and how many runs train together.
SIZES = {28: (4096, (1, 8, 32)), 224: (256, (1, 4, 8))}
TINY = {28: (128, (1, 2))}
#: The share of central training that was expected at 224 pixels.
EXPECTED = {224: 0.7}


def central(setting: Setting) -> None:
    """Training images/s by size, precision and number of runs, and their share of central."""
    sizes = TINY if setting.tiny else SIZES
    for pixels, (batch, counts) in sizes.items():
        scenario = mobilenet(setting, pixels, rounds=3 if pixels < 100 else 2)
        for precision in setting.precisions:
            name = f"{pixels} px, {precision}"
            alone = partial(_central, setting, scenario, batch, precision)
            limit = setting.log.take("central", f"{name}, central, batch {batch}", alone)
            shares: dict[str, float] = {}
            for engine in setting.engines if precision == "float32" else setting.engines[:1]:
                for count in counts:
                    label = f"{count} runs, {engine}"
                    measure = partial(_rate, setting, scenario, engine, count, precision)
                    rate = setting.log.take("central", f"{name}, {label}", measure)
                    if rate is not None and limit:
                        shares[label] = rate / limit
            if shares:
                best = max(shares, key=lambda label: shares[label])
                told = {**shares, "best": shares[best], "best at": best}
                expected = EXPECTED.get(pixels)
                if expected is not None:
                    told["expected at least"] = expected
                setting.log.note("central", f"{name}, share of central", told)
                if expected is not None and shares[best] < expected and precision == "float32":
                    work = partial(records_of, setting, scenario, "stacked", counts[-1])
                    profile = partial(profiled, setting, work)
                    setting.log.take("central", f"{name}, profile of {counts[-1]} runs", profile)


def _rate(setting: Setting, scenario: Scenario, engine: str, count: int, precision: str) -> float:
    """Images/s of training alone; a first run of one round pays for kernels and memory."""
    records_of(setting, scenario.but(rounds=1, eval_every=1), engine, count, precision)
    records = records_of(setting, scenario, engine, count, precision)
    return sum(r.examples for r in records) / sum(r.timings.train for r in records)


def _central(setting: Setting, scenario: Scenario, batch: int, precision: str) -> float:
    """Images/s of plain SGD on all training images, in the same model and precision."""
    execution = Execution("sequential", setting.device, precision)
    device = execution.torch_device
    with execution.arithmetic():
        federation = Federation.prepare(scenario, 0, setting.data_dir, device)
        model = federation.initial_model().to(device, memory_format=torch.channels_last)
        execution.cast_model(model)
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
