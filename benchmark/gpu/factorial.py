"""Section (e), first half: the study's full factorial, ten rounds measured, all computed.

All cells of the study (arms x partitions x (clean + fractions x ratios), as benchmark/test_study.py
builds them) at 32 pixels with 5 seeds. Runs of one arm train together, whatever else they differ
in. So of each arm a sample, evenly spaced over its cells and seeds, is begun in lockstep as it is,
and left after a few rounds.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import lockstep
from fedcore.simulation.trial import RoundReport

from .measurements import Setting
from .workloads import data

Run = tuple[Scenario, int]
SEEDS = 5
#: GPU-hours that the whole factorial is to take.
AT_MOST = 1.0
METHOD = (
    "per arm, a sample of its runs in lockstep: seconds per run and round = time from the last "
    "report of round 1 to the end / reports in it, training, aggregation and evaluation included; "
    "seconds to start a run = (time until then) / runs - one round; hours = runs x (start + rounds "
    "x round), summed over the arms, each by its faster engine"
)
TINY = {
    "dataset": "synthetic:1000",
    "image_size": 8,
    "model": "mlp",
    "weights": None,
    "num_clients": 10,
    "fraction_train": 0.5,
    "rounds": 6,
}


def cells(tiny: bool) -> dict[str, list[Scenario]]:
    """The factorial's scenarios by arm: every partition, clean and at each pair of shares."""
    from fedcore.harness.suite.published import PublishedCell, read_published

    from ..test_study import PARTITIONS, PUBLISHED, arm  # pytest, only where it is needed

    entries = read_published(PUBLISHED)
    fractions = sorted({entry.malicious_fraction for entry in entries} - {0.0})
    ratios = sorted({entry.poison_ratio for entry in entries} - {0.0})
    shares = [(0.0, 0.0), *((fraction, ratio) for fraction in fractions for ratio in ratios)]
    return {
        name: [
            arm(PublishedCell(name, partition, *share, None)).but(
                **TINY if tiny else {"image_size": 32}
            )
            for partition in PARTITIONS
            for share in shares
        ]
        for name in dict.fromkeys(entry.arm for entry in entries)
    }


def factorial(setting: Setting) -> None:
    """Hours for the full factorial in lockstep, by measured extrapolation."""
    count, rounds = (2, 2) if setting.tiny else (32, 10)
    there = {} if setting.tiny else data(setting)
    arms = {
        name: [(scenario.but(**there), seed) for scenario in scenarios for seed in range(SEEDS)]
        for name, scenarios in cells(setting.tiny).items()
    }
    best: dict[str, float] = {}
    for name, runs in arms.items():
        for engine in setting.engines:
            measure = partial(_extrapolated, setting, runs, engine, count, rounds)
            found = setting.log.take("factorial", f"{name}, {engine}", measure)
            if found is not None:
                best[name] = min(found["hours"], best.get(name, found["hours"]))
    scenario = next(iter(arms.values()))[0][0]
    told = {
        "arms": len(arms),
        "seeds": SEEDS,
        "cells": sum(map(len, arms.values())) // SEEDS,
        "runs": sum(map(len, arms.values())),
        "rounds": scenario.rounds,
        "pixels": scenario.image_size,
        "method": METHOD,
        "hours": sum(best.values()) if len(best) == len(arms) else None,
        "hours at most": AT_MOST,
    }
    setting.log.note("factorial", "total", told)


def sample(runs: list[Run], count: int) -> list[Run]:
    """``count`` of ``runs``, evenly spaced."""
    return [runs[place * len(runs) // count] for place in range(count)]


def _extrapolated(
    setting: Setting, runs: list[Run], engine: str, count: int, rounds: int
) -> dict[str, Any]:
    """A sample of ``count`` runs for ``rounds`` rounds, and what follows for all ``runs``."""
    begun = setting.now()
    heard: list[tuple[int, RoundReport, float]] = []  # position, report, when
    failures: list[str] = []
    events = lockstep(sample(runs, count), Execution(engine, setting.device), setting.data_dir)
    with contextlib.closing(events):
        for place, event in events:
            if isinstance(event, FedcoreError):
                failures.append(f"{type(event).__name__}: {event}")
            elif isinstance(event, RoundReport):
                if event.round > rounds:  # only where the team was halved in between
                    break
                heard.append((place, event, setting.now()))
                team = {p for p, report, _ in heard if report.round == 1}
                if {p for p, report, _ in heard if report.round == rounds} == team:
                    break
    first = [when for _, report, when in heard if report.round == 1]
    later = [when for _, report, when in heard if report.round > 1]
    if not later:
        raise FedcoreError(f"no run of the sample made two rounds: {'; '.join(failures)}")
    each = max(0.0, later[-1] - first[-1]) / len(later)
    start = max(0.0, (first[-1] - begun) / len(first) - each)
    total = runs[0][0].rounds
    return {
        "sample": count,
        "trained together": len(first),
        "rounds measured": rounds,
        "failures": failures,
        "seconds per run and round": each,
        "seconds to start a run": start,
        "runs": len(runs),
        "rounds": total,
        "hours": len(runs) * (start + total * each) / 3600,
    }
