"""The clients of a run: the chosen partition, checked for gaps, less the samples held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedcore.errors import PartitionError
from fedcore.scenario import Scenario, round_half_up
from fedcore.streams import Indices, Purpose, stream

SHOWN = 10
"""Clients or classes that a message names before it only counts them."""


def partition(scenario: Scenario, labels: Indices, num_classes: int, seed: int) -> list[Indices]:
    """Indices of the *training* samples of each client, ``scenario.num_clients`` int64 arrays.

    ``labels`` is [n] int64 in [0, num_classes). The partition is drawn from the run's ``seed``,
    or, where the scenario fixes ``partition_seed``, from ``np.random.default_rng(partition_seed)``
    whatever the run: then the indices are those of Flower's partitioner with that seed.

    Of each client ``validation_fraction`` of the samples, halves up, is held out: those belong to
    no client here and nothing trains on them. A client keeps at least one training sample. The
    choice follows the seed of the partition, so a fixed partition has fixed training samples.

    Raises `PartitionError` where the partitioner cannot meet its parameters, and, unless the
    scenario has ``allow_incomplete``, where clients are empty or samples belong to nobody.
    """
    fixed = scenario.partition_seed
    generator = stream(seed, Purpose.PARTITION) if fixed is None else np.random.default_rng(fixed)
    dealt = scenario.parts.partition.split(labels, scenario.num_clients, generator)
    parts = _checked(dealt, scenario, len(labels))
    if not scenario.allow_incomplete:
        gaps = _gaps(labels, parts, num_classes)
        if gaps:
            raise PartitionError(
                f"the {scenario.partition} partition over num_clients={scenario.num_clients} "
                f"{' and '.join(gaps)}: take another seed (partition_seed), fewer clients"
                f"{_advice(scenario)}, or set allow_incomplete=True to accept it"
            )
    owner_seed = seed if fixed is None else fixed
    return [
        _training_part(part, scenario.validation_fraction, owner_seed, client)
        for client, part in enumerate(parts)
    ]


def _checked(dealt: Sequence[Indices], scenario: Scenario, samples: int) -> list[Indices]:
    """``dealt`` as one int64 array of places in the data for each client. PartitionError."""
    name = f"partition {scenario.partition!r} must give"
    if len(dealt) != scenario.num_clients:
        raise PartitionError(f"{name} {scenario.num_clients} clients, got {len(dealt)}")
    parts = [np.asarray(part) for part in dealt]
    for client, part in enumerate(parts):
        whole = np.issubdtype(part.dtype, np.integer) or not part.size
        if part.ndim != 1 or not whole:
            raise PartitionError(
                f"{name} an array [k] of int64 for each client, client {client} has "
                f"{part.dtype} of shape {part.shape}"
            )
        if part.size and not 0 <= part.min() <= part.max() < samples:
            raise PartitionError(
                f"{name} places in [0, {samples}), client {client} has {part.min()} to {part.max()}"
            )
    return [part.astype(np.int64, copy=False) for part in parts]


def _gaps(labels: Indices, parts: Sequence[Indices], num_classes: int) -> list[str]:
    """What the partition leaves out, each as the rest of a sentence; empty if nothing."""
    gaps = []
    empty = [client for client, part in enumerate(parts) if len(part) == 0]
    if empty:
        gaps.append(f"leaves {len(empty)} client(s) without samples (clients {_some(empty)})")
    dealt = np.zeros(len(labels), dtype=np.bool_)
    for part in parts:
        dealt[part] = True
    dropped = int(np.count_nonzero(~dealt))
    if dropped:
        of_class = np.bincount(labels, minlength=num_classes)
        of_nobody = np.bincount(labels[~dealt], minlength=num_classes)
        lost = np.flatnonzero((of_class > 0) & (of_nobody == of_class)).tolist()
        classes = f", all of {len(lost)} class(es) (classes {_some(lost)})" if lost else ""
        gaps.append(f"drops {dropped} of {len(labels)} samples{classes}")
    return gaps


def _advice(scenario: Scenario) -> str:
    if scenario.classes_per_client is not None:
        return ", more classes_per_client or another class_assignment"
    if scenario.min_partition_size == 0:
        return ", min_partition_size of 1 or more"
    return ""


def _some(items: Sequence[int]) -> str:
    """The first few of ``items``: ``0, 1, 2, ...``."""
    shown = ", ".join(str(item) for item in items[:SHOWN])
    return shown if len(items) <= SHOWN else f"{shown}, ..."


def _training_part(part: Indices, fraction: float, seed: int, client: int) -> Indices:
    """``part`` without the samples held out, in its order."""
    held = min(round_half_up(fraction * len(part)), len(part) - 1)
    if held <= 0:
        return part
    order = stream(seed, Purpose.VALIDATION_SPLIT, client=client).permutation(len(part))
    keep = np.ones(len(part), dtype=np.bool_)
    keep[order[:held]] = False
    return part[keep]
