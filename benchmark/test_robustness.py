"""What label poisoning costs: strategy x partition x malicious fraction x poison ratio x attack.

Each cell is judged on paired seeds against its clean twin, by the limits in thresholds.toml. The
local work of each strategy is tuned on clean data (tuning.toml), and clients work unequally
(local epochs drawn per client): with equal work FedNova is FedAvg.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.cells import Cell, Grid
from fedcore.harness.options import Options
from fedcore.harness.tuning import read_tuning
from fedcore.presets import preset

TUNED = read_tuning(Path(__file__).with_name("tuning.toml"))

IID = {"partition": "iid"}
SKEWED = {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2}
LABEL_FLIP = {"attack": "labelflip"}
TARGETED = {"attack": "targetedflip", "source_class": 1, "target_class": 7}
AVERAGES = [{"strategy": s} for s in ("fedavg", "fednova")]
OTHERS = [{"strategy": s} for s in ("fedavgm", "fedprox", "median", "trimmedmean", "multikrum")]
# of the full profile only
ROBUST = [
    {"strategy": s}
    for s in ("bulyan", "rfa", "normclipping", "centeredclipping", "fedadam", "fedyogi")
]
# a single client's update does not learn where clients hold one or two classes: IID only
SINGLE = [{"strategy": "krum"}]
WITH_BATCH_NORM = {"strategy": "fedbn", "norm": "batch"}


# inconclusive cells get up to 9 seeds; every control is the strongest attack of the profile
DECIDE: dict[str, Any] = {"max_seeds": 9, "strongest": (0.5, 1.0)}


def base(options: Options) -> Scenario:
    """What the cells of every profile but the study's share."""
    return Scenario(
        dataset=options.dataset,
        model=options.model or "cnn",
        num_clients=20,
        fraction_train=0.5,
        rounds=10,
        local_epochs=(1, 3),
        optimizer="sgd",
        lr=0.1,
    )


def smoke(options: Options) -> Iterator[Cell]:
    """The strongest attack on FedAvg and FedNova: is everything in working order?"""
    yield from Grid(base(options), AVERAGES, [IID], [LABEL_FLIP], [0.5], [1.0], 2, TUNED).cells()


def quick(options: Options) -> Iterator[Cell]:
    """FedAvg and FedNova over all shares, every other strategy under one strong attack."""
    start = base(options)
    partitions = [IID, SKEWED]
    yield from Grid(
        start, AVERAGES, partitions, [LABEL_FLIP], [0.3, 0.5], [0.5, 1.0], 3, TUNED, **DECIDE
    ).cells()
    yield from Grid(
        start, OTHERS, partitions, [LABEL_FLIP], [0.3], [1.0], 3, TUNED, **DECIDE
    ).cells()
    yield from Grid(start, SINGLE, [IID], [LABEL_FLIP], [0.3], [1.0], 3, TUNED, **DECIDE).cells()
    yield from Grid(
        start, AVERAGES, [IID], [TARGETED], [0.5], [1.0], 3, TUNED, **DECIDE, clean=False
    ).cells()
    if options.model is None:
        yield from mobilenet(options)


def full(options: Options) -> Iterator[Cell]:
    """Every strategy, partition, attack and share, on five seeds."""
    partitions = [
        IID,
        *({**SKEWED, "alpha": alpha} for alpha in (0.9, 0.3, 0.1)),
        *(
            {
                "partition": "pathological",
                "classes_per_client": classes,
                "class_assignment": "first-deterministic",
            }
            for classes in (7, 4, 2)
        ),
    ]
    attacks = [LABEL_FLIP, {"attack": "pairflip"}, TARGETED]
    strategies = [*AVERAGES, *OTHERS, *SINGLE, WITH_BATCH_NORM, *ROBUST]
    fractions, ratios = [0.1, 0.3, 0.5], [0.1, 0.3, 0.5, 0.8]
    yield from Grid(
        base(options), strategies, partitions, attacks, fractions, ratios, 5, TUNED
    ).cells()
    if options.model is None:
        yield from mobilenet(options)


def mobilenet(options: Options) -> Iterator[Cell]:
    """A small federation of MobileNetV2 from random weights: the study's model, in CI's reach."""
    small = {"num_clients": 4, "fraction_train": 0.5, "rounds": 8, "batch_size": 16}
    yield from Grid(
        base(options).but(model="mobilenet_v2", local_epochs=1, **small),
        [{"strategy": "fedavg", "optimizer": "adam", "lr": 0.001}],
        [IID],
        [LABEL_FLIP],
        [0.5],
        [1.0],
        2,
        undefended={"strategy": "fedavg", "optimizer": "adam", "lr": 0.001},
        clean=False,
        named_against=base(options).but(
            local_epochs=1, optimizer="adam", lr=0.001, num_clients=4, rounds=8
        ),
    ).cells()


def study(options: Options) -> Iterator[Cell]:
    """The study's two arms as they were run, at its partitions and shares, one seed."""
    arms = [preset("study-fedavg"), preset("study-fednova")]
    partitions = [
        IID,
        *({"partition": "dirichlet", "alpha": a, "partition_seed": 123} for a in (0.9, 0.3, 0.1)),
        *({"partition": "pathological", "classes_per_client": c} for c in (7, 4, 2)),
    ]
    for arm in arms:
        redrawn = {"attack": "labelflip", "redraw": True}
        yield from Grid(
            arm.but(model=options.model or arm.model),
            [{"strategy": arm.strategy}],
            partitions,
            [redrawn],
            [0.3],
            [0.5],
            1,
            undefended={"strategy": arm.strategy},
        ).cells()


PROFILES = {"smoke": smoke, "quick": quick, "full": full, "study": study}


@pytest.mark.cells(function=lambda options: PROFILES[options.profile](options))
def test_robustness(outcome) -> None:
    """The cell holds its limits, and the attack is known to bite where there is no defence."""
    outcome.check()
