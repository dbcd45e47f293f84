"""Section (d): the server's step on updates that lie on the device, and each attack on updates."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.benchmark import Timer

from fedcore.components.kinds import ATTACKS
from fedcore.engine.execution import Execution, choose_device, exact_arithmetic
from fedcore.engine.interface import ENGINES
from fedcore.exchange.cohort import Memory
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.assault import assaulted
from fedcore.strategies.aggregation import Aggregation

from ..timing.cohort import cohort_of
from ..timing.plain_rules import PLAIN, plain
from .measurements import Setting
from .workloads import w1

CLIENTS = 50
PARAMETERS = (1_000_000, 10_000_000)


def aggregation(setting: Setting) -> None:
    """Milliseconds of the steps of 50 x 1 M and 50 x 10 M, beside torch's plain definitions."""
    for parameters in (2_000,) if setting.tiny else PARAMETERS:
        for name in PLAIN:
            measure = partial(_timed, setting, name, parameters)
            setting.log.take("aggregation", f"{name} of {CLIENTS} x {parameters:,}", measure)


def _timed(setting: Setting, name: str, parameters: int) -> dict[str, float]:
    device = choose_device(setting.device)
    strategy = Scenario(strategy=name, num_clients=CLIENTS, fraction_train=1.0).parts.strategy
    rows = torch.randn(CLIENTS, parameters, generator=torch.Generator().manual_seed(0))
    sent, there = cohort_of(rows), rows.to(device)
    least = 0.01 if setting.tiny else 1.0
    with exact_arithmetic(device):
        exact = strategy.step(rows, sent, {}) if parameters <= PARAMETERS[0] else None
        own = strategy.step(there, sent, {})
        names = {"step": strategy.step, "rows": there, "sent": sent, "plain": plain, "name": name}
        ours = Timer("step(rows, sent, {})", globals=names).blocked_autorange(min_run_time=least)
        theirs = Timer("plain(name, rows)", globals=names).blocked_autorange(min_run_time=least)
        reference = plain(name, there)
    found = {
        "median ms": ours.median * 1e3,
        "iqr ms": ours.iqr * 1e3,
        "calls": len(ours.times) * ours.number_per_run,
        "plain median ms": theirs.median * 1e3,
        "plain / fedcore": theirs.median / ours.median,
        "distance to the plain definition": float((own - reference).norm() / reference.norm()),
    }
    if exact is not None:
        found["distance to the CPU's"] = float((own.cpu() - exact).norm() / exact.norm())
    return found


def attacks(setting: Setting) -> None:
    """Milliseconds of each attack on updates in a round of W1, beside the round's training."""
    more = {"fraction_train": 1.0} if setting.tiny else {}  # a cohort of 10
    scenario, device = w1(setting).but(strategy="median", **more), choose_device(setting.device)
    execution = Execution("stacked", setting.device)
    with execution.arithmetic():
        federation = Federation.prepare(scenario, 0, setting.data_dir, device)
        engine = ENGINES["stacked"](federation, execution)
        state, cohort = engine.initial_state(), federation.cohort(1)
        engine.train(state, 1, cohort)
        sent, taken = setting.timed(lambda: engine.train(state, 1, cohort))
        setting.log.note("attacks", "training of a round", {"ms": 1e3 * taken["seconds"]})
        size = engine.layout.num_parameters
        for name in _on_updates(scenario):
            attacked = scenario.but(attack=name, malicious_fraction=0.4)
            threat = Federation.prepare(attacked, 0, setting.data_dir, device).threat
            server = Aggregation.of(attacked, 0)

            def craft(threat=threat, server=server) -> None:
                assaulted(threat, sent, state, server, 1, size, Memory())

            def measure(craft=craft) -> dict[str, float]:
                craft()
                found = Timer("craft()", globals={"craft": craft}).blocked_autorange(
                    min_run_time=0.01 if setting.tiny else 0.3
                )
                return {
                    "ms": found.median * 1e3,
                    "of the training": found.median / taken["seconds"],
                }

            setting.log.take("attacks", name, measure)


def _on_updates(scenario: Scenario) -> list[str]:
    """The attacks on updates that need no parameter."""
    found = []
    for name in sorted(name for name in ATTACKS if ":" not in name):
        try:
            attack = scenario.but(attack=name, malicious_fraction=0.4).parts.attack
        except ValueError:
            continue
        # one on BatchNorm's buffers has nothing to send here
        if attack is not None and attack.update is not None and name != "buffers":
            found.append(name)
    return found
