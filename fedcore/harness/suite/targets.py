"""What a suite asks of any data set: classes that it has, and partitions that can be dealt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fedcore.data.loading import data_directory, known_classes, load
from fedcore.data.medmnist import SETS
from fedcore.errors import FedcoreError, PartitionError
from fedcore.federation.clients import partition

if TYPE_CHECKING:
    from fedcore.data.dataset import Dataset
    from fedcore.harness.suite.options import Options
    from fedcore.scenario import Scenario

_SOURCE, _TARGET, _FEW = 1, 7, 0
#: What alpha is raised to, in this order, where a Dirichlet partition cannot be dealt.
ALPHAS = (0.1, 0.3, 0.5, 0.9, 2.0, 5.0, 10.0)
#: Seeds that a partition must be dealt on before a suite takes it: as many as any profile has.
SEEDS = 20

# what decides whether a partition can be dealt
_DEALING = attrgetter(
    "data", "parts.partition", "partition_seed", "allow_incomplete", "num_clients"
)


def targeted_flip(options: Options) -> dict[str, Any]:
    """The attack as changes of a scenario: 1 to 7, or 1 to 0 where the data set has no class 7.

    Where the number of classes is not known without a download it is 1 to 7.
    """
    classes = known_classes(options.dataset, options.data_dir)
    target = _TARGET if classes is None or classes > _TARGET else _FEW
    return {"attack": "targetedflip", "source_class": _SOURCE, "target_class": target}


def dealable(
    options: Options, base: Scenario, partitions: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """``partitions``, changes of ``base``, fitted to the data set of ``options``; notes say how.

    A Dirichlet partition that cannot be dealt on one of the seeds gets the first of `ALPHAS` above
    its own with which it can on all of them; of two that become equal one is kept. A pathological
    one of more classes a client than the data set has is left out. What the user sets (--alpha) and
    what cannot be fitted stays as it is: `undealt` refuses it before the first run. So does
    everything where the data would have to be downloaded to be looked at.
    """
    dataset = _dataset(options.dataset, options)
    kept: list[dict[str, Any]] = []
    for changes in partitions:
        fitted = dict(changes)
        if dataset is not None:
            scenario = base.but(**{**_counts(options), **fitted})
            classes = len(set(dataset.train.labels.tolist()))
            if scenario.alpha is not None and "alpha" not in options.overrides:
                fitted["alpha"] = _alpha(options, scenario, dataset)
            elif (scenario.classes_per_client or 0) > classes:
                options.note(
                    f"{options.dataset} has {classes} classes: the suite leaves out clients of "
                    f"{scenario.classes_per_client} classes"
                )
                continue
        if fitted not in kept:
            kept.append(fitted)
    return kept


def undealt(needs: Mapping[Scenario, int], options: Options) -> list[str]:
    """Why partitions cannot be dealt, each kind once; empty if all can.

    ``needs`` has the number of seeds, from 0, by scenario. Data that are not here yet, or cannot be
    read, are left to the runs, which say so.
    """
    seeds: dict[tuple[Any, ...], tuple[Scenario, int]] = {}
    for scenario, count in needs.items():
        key = _DEALING(scenario)
        seeds[key] = (scenario, max(count, seeds.get(key, (scenario, 0))[1]))
    found = []
    for scenario, count in seeds.values():
        dataset = _dataset(scenario.data, options)
        if dataset is None:
            continue
        for seed in range(count):
            try:
                partition(scenario, dataset.train.labels.numpy(), dataset.num_classes, seed)
            except PartitionError as error:
                found.append(f"{scenario.dataset}, seed {seed}: {error}")
                break
    return found


def _counts(options: Options) -> dict[str, Any]:
    return {k: v for k, v in options.overrides.items() if k == "num_clients"}


def _dataset(name: str, options: Options) -> Dataset | None:
    """The data set called ``name``; None where it cannot be had without a download."""
    file = f"{name.removeprefix('holdout:')}"
    if file in SETS and not (data_directory(options.data_dir) / f"{file}.npz").is_file():
        return None
    try:
        return load(name, options.data_dir)
    except FedcoreError:
        return None


def _alpha(options: Options, scenario: Scenario, dataset: Dataset) -> float:
    """The alpha of ``scenario``, or the next of `ALPHAS` with which all seeds can be dealt."""
    asked: float = scenario.alpha
    seeds = range(max(SEEDS, options.seeds or 0))
    labels = dataset.train.labels.numpy()
    for alpha in (asked, *(a for a in ALPHAS if a > asked)):
        try:
            for seed in seeds:
                partition(scenario.but(alpha=alpha), labels, dataset.num_classes, seed)
        except PartitionError:
            continue
        if alpha != asked:
            options.note(
                f"{options.dataset} cannot be dealt to {scenario.num_clients} clients with alpha "
                f"{asked:g} on each of {len(seeds)} seeds: the suite takes alpha "
                f"{alpha:g} (--alpha and --num-clients choose)"
            )
        return alpha
    return asked
