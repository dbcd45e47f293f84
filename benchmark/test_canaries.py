"""Every component computes today what it computed when it was recorded.

In float64, on one seed, on every machine (`fedcore.harness.baselines.canaries` has the rule). Which
strategy meets which partition and attack is chosen in `benchmark.canary_rule`: each of 15
strategies x 3 partitions x 6 attacks and none over 10 rounds, later components in fewer pairs over
4. They come from the registries, so that a new one fails until it is recorded: ``pytest
benchmark/test_canaries.py --update-canaries`` runs what is new and adds it to canaries.json;
``--update-canaries=all`` records every canary anew, and says which have changed. That is an option
of its own, as a machine that records a baseline of its class must not move what all are held to.

The settings are such that the default of every parameter decides on the numbers: a cohort of 10 of
15 clients of unequal work, so that the trimmed mean cuts 2 at each end, the median lies between
two, Krum tolerates 3, Multi-Krum takes 7 and Bulyan withstands 1. At a learning rate of 0.03
training contracts: at 0.1, what 1e-16 makes of it decides on accuracies from round 3 on.

Measured: AVX2 instead of AVX-512 (ATEN_CPU_CAPABILITY=avx2, ONEDNN_MAX_CPU_ISA and
MKL_ENABLE_INSTRUCTIONS=AVX2), without kernels, left the first 208 canaries equal, and the 177 of
2026-11-28. Left out: group normalisation, which differed there by 3e-2. Without AVX2
(ATEN_CPU_CAPABILITY=default) torch draws initial weights with other last bits of float32; then 6 of
207 canaries are not equal, so that such a processor has to expect these to fail. One test, not one
for each canary: ``-k fednova`` selects the cells of a strategy, and is not to become slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.attacks.attack import ATTACKS
from fedcore.components.kinds import PREAGGREGATIONS
from fedcore.data.loading import data_directory
from fedcore.errors import FedcoreError
from fedcore.harness.baselines.canaries import (
    EXECUTION,
    RULE,
    RecordedCanaries,
    differences,
    ours,
    traces,
)
from fedcore.harness.baselines.file import BaselineError
from fedcore.harness.baselines.update import source
from fedcore.harness.exact.trace import Trace
from fedcore.harness.runs.job import Failure
from fedcore.harness.suite.cells import poisons
from fedcore.harness.suite.options import Options
from fedcore.optimizers.solvers import OPTIMIZERS
from fedcore.partition.partitioner import PARTITIONERS
from fedcore.records.provenance import fingerprint
from fedcore.strategies.strategy import STRATEGIES

from .canary_rule import SHORT, grid, is_core, steps

FILE = Path(__file__).with_name("canaries.json")
SEED = 0
_SHOWN = 40

BASE = Scenario(
    dataset="mnist5k",
    model="mlp",
    num_clients=15,
    fraction_train=0.667,
    rounds=10,
    local_epochs=(1, 3),
    optimizer="sgd",
    lr=0.03,
    weight_decay=1e-3,
    batch_size=64,
)
#: Parameters that have no default, and what a component needs to differ from others.
GIVEN: dict[str, dict[str, Any]] = {
    "fedbn": {"norm": "batch"},
    "buffers": {"norm": "batch"},
    "normclipping": {"norm_bound": 0.2},
    "centeredclipping": {"norm_bound": 0.2},
    "pgd": {"radius": 0.2},
    "dirichlet": {"alpha": 0.3, "min_partition_size": 2},
    "pathological": {"classes_per_client": 3, "class_assignment": "first-deterministic"},
    "targetedflip": {"source_class": 1, "target_class": 7},
    "until": {"of": "backdoor(poison_ratio=0.7)", "last_round": 2},
    "momentum": {"lr": 0.005},
    "proximal": {"mu": 0.1},
    "adam": {"lr": 0.001},
}
#: Local work whose updates are longer than the bounds that clip by default.
LONG: dict[str, Any] = {"optimizer": "momentum", "lr": 0.015, "local_epochs": (2, 5)}
SHARES = {"malicious_fraction": 0.3, "poison_ratio": 0.7}
#: One setting at a time that the grid leaves at its default, or does not have.
FURTHER: dict[str, dict[str, Any]] = {
    "fedavg-nesterov": {"optimizer": "momentum", "lr": 0.005, "nesterov": True},
    "fedavg-dampening": {"optimizer": "momentum", "lr": 0.005, "dampening": 0.5},
    "fednova-momentum": {"strategy": "fednova", "optimizer": "momentum", "lr": 0.005},
    "fednova-proximal": {"strategy": "fednova", "optimizer": "proximal", "mu": 0.1},
    "fednova-server": {"strategy": "fednova", "server_momentum": 0.5, "server_lr": 0.7},
    "fedavgm-server": {"strategy": "fedavgm", "server_momentum": 0.5, "server_lr": 0.7},
    "fedprox-momentum": {"strategy": "fedprox", "optimizer": "momentum", "lr": 0.005, "mu": 0.5},
    "krum-f1": {"strategy": "krum", "num_byzantine": 1},
    "multikrum-f2m4": {"strategy": "multikrum", "num_byzantine": 2, "num_selected": 4},
    "trimmedmean-tenth": {"strategy": "trimmedmean", "trim_fraction": 0.1},
    "median-odd": {"strategy": "median", "fraction_train": 0.6},
    "bulyan-f2": {"strategy": "bulyan", "fraction_train": 0.75},
    "normclipping-default": {"strategy": "normclipping", **LONG},
    "centeredclipping-default": {"strategy": "centeredclipping", **LONG},
    "centeredclipping-thrice": {
        "strategy": "centeredclipping",
        "norm_bound": 0.2,
        "aggregation_iterations": 3,
    },
    "rfa-thrice": {"strategy": "rfa", "aggregation_iterations": 3, "smoothing": 0.5},
    "batch-norm": {"norm": "batch"},
    "redraw": {"attack": "labelflip", "redraw": True, **SHARES},
    "eval-every-3": {"eval_every": 3},
    "validation": {"validation_fraction": 0.25},
    "imagenet-normalisation": {"normalize": "imagenet"},
    "cnn": {"model": "cnn", "rounds": 3, "validation_fraction": 0.7, "lr": 0.1},
    "localdp": {"privacy": "localdp", "epsilon": 50.0},
    "centraldp": {"privacy": "centraldp", "epsilon": 50.0},
}


def canaries() -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and changes of `BASE`: the grid, each optimizer and pre-aggregation, `FURTHER`."""
    strategies = [name for name in ours(STRATEGIES) if name != "flower"]  # runs others, by messages
    for cell in grid(strategies, ours(PARTITIONERS), ours(ATTACKS)):
        strategy, partition, attack = cell
        rounds = {} if is_core(cell) else {"rounds": SHORT}
        yield f"{strategy}-{partition}-{attack or 'clean'}", {**rounds, **_arm(*cell)}
    for optimizer in ours(OPTIMIZERS):
        yield f"fedavg-{optimizer}", {"optimizer": optimizer, **GIVEN.get(optimizer, {})}
    for step, strategy, partition, attack in steps(ours(PREAGGREGATIONS)):
        arm = _arm(strategy, partition, attack) | {"preaggregation": step}
        parts = (strategy, step, partition, attack)
        yield "-".join(filter(None, parts)), arm
    yield from FURTHER.items()


def _arm(strategy: str, partition: str | None, attack: str | None) -> dict[str, Any]:
    """Changes of `BASE` that name these components, with what each needs."""
    arm = {"strategy": strategy, **GIVEN.get(strategy, {})}
    if partition is not None:
        arm |= {"partition": partition, **GIVEN.get(partition, {})}
    if attack is not None:
        shares = {k: v for k, v in SHARES.items() if k != "poison_ratio" or poisons(attack)}
        arm |= {"attack": attack, **GIVEN.get(attack, {}), **shares}
    return arm


def built() -> tuple[dict[str, Scenario], list[str]]:
    """The canaries by name; lines on those that are no scenario."""
    found, wrong = {}, []
    for name, changes in canaries():
        try:
            found[name] = BASE.but(**changes)
        except FedcoreError as error:
            why = " ".join(str(error).split())
            wrong.append(f"{name}: {why} (give it what it needs in GIVEN of {__name__})")
    return found, wrong


def test_canaries(suite_options: Options, request: pytest.FixtureRequest, remark) -> None:
    """Accuracies are equal in every round, losses within the tolerance; or they are recorded."""
    if suite_options.dataset != BASE.dataset:
        pytest.skip(f"canaries are runs on {BASE.dataset}, whatever --dataset is")
    scenarios, wrong = built()
    update = request.config.getoption("fedcore_update_canaries")
    known = None
    if update != "all" or FILE.exists():
        try:
            known = RecordedCanaries.read(FILE)
        except BaselineError as error:
            pytest.fail(str(error), pytrace=False)
    recorded = known.canaries if known is not None else {}
    if update == "new":
        scenarios = {name: s for name, s in scenarios.items() if name not in recorded}
    data = data_directory(suite_options.data_dir)
    now = traces(scenarios, SEED, data, suite_options.jobs or 1)
    if update is not None:
        record(known, scenarios, wrong, now, update, remark)
        return
    wrong += differences(recorded, scenarios, now)
    remark(f"canaries: {len(scenarios)} runs in float64, {len(wrong)} differ from {FILE.name}")
    if wrong:
        shown = wrong[:_SHOWN] + [f"and {len(wrong) - _SHOWN} more"] * (len(wrong) > _SHOWN)
        accept = "if this is meant: pytest benchmark/test_canaries.py --update-canaries"
        text = [f"{len(wrong)} canaries differ from {FILE.name}", *shown, RULE, accept]
        pytest.fail("\n".join(text), pytrace=False)


def record(
    known: RecordedCanaries | None,
    scenarios: dict[str, Scenario],
    wrong: list[str],
    now: dict[str, Trace | Failure],
    update: str,
    remark: Callable[[str], None],
) -> None:
    """Write what ``scenarios`` scored, in place of what is ``known`` or ("new") beside it.

    Nothing where any of them could not be made.
    """
    wrong += [f"{n}: {r.message.strip()}" for n, r in now.items() if isinstance(r, Failure)]
    if wrong:
        text = ["not recorded, as some canaries could not be made", *wrong]
        pytest.fail("\n".join(text), pytrace=False)
    command = "pytest benchmark/test_canaries.py --update-canaries" + "=all" * (update == "all")
    made = source(fingerprint(EXECUTION.torch_device) + f", {EXECUTION.label}", command)
    found = {n: (s.hash, r) for n, s in scenarios.items() if isinstance(r := now[n], Trace)}
    if update == "new" and known is not None:
        for name in list(found)[:_SHOWN]:
            remark(f"new: {name}")
        known.with_more(found, made).write(FILE)
        remark(
            f"canaries: {len(found)} added to {FILE.name}, {len(known.canaries)} left as recorded"
        )
        return
    changed = list(differences(known.canaries, scenarios, now)) if known is not None else []
    for line in changed[:_SHOWN]:
        remark(f"changed: {line}")
    RecordedCanaries(made, found).write(FILE)
    remark(f"canaries: {len(found)} recorded in {FILE.name}, {len(changed)} of them changed")
