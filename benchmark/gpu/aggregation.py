"""Section of benchmark.gpu about the server: aggregating updates that lie on the device."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.benchmark import Timer

from fedcore.engine.execution import choose_device, exact_arithmetic
from fedcore.scenario import Scenario

from ..cohort import cohort_of
from .measurements import Setting

CLIENTS = 50
PARAMETERS = 1_000_000
AGGREGATORS = ("median", "trimmedmean", "krum", "multikrum")


def aggregation(setting: Setting) -> None:
    """Milliseconds for the step of 50 x 1 M parameters, and its distance to the CPU's step."""
    parameters = 2_000 if setting.tiny else PARAMETERS
    for name in AGGREGATORS:
        measure = partial(_timed, setting, name, parameters)
        setting.log.take("aggregation", f"{name} of {CLIENTS} x {parameters:,}", measure)


def _timed(setting: Setting, name: str, parameters: int) -> dict[str, float]:
    device = choose_device(setting.device)
    strategy = Scenario(strategy=name, num_clients=CLIENTS, fraction_train=1.0).parts.strategy
    rows = torch.randn(CLIENTS, parameters, generator=torch.Generator().manual_seed(0))
    sent = cohort_of(rows)
    there = rows.to(device)
    with exact_arithmetic(device):
        exact = strategy.step(rows, sent, {})
        gap = (strategy.step(there, sent, {}).cpu() - exact).norm() / exact.norm()
        timer = Timer(
            "step(rows, sent, {})", globals={"step": strategy.step, "rows": there, "sent": sent}
        )
        found = timer.blocked_autorange(min_run_time=0.01 if setting.tiny else 2.0)
    return {
        "median ms": found.median * 1e3,
        "iqr ms": found.iqr * 1e3,
        "calls": len(found.times) * found.number_per_run,
        "distance to the CPU's": float(gap),
    }
