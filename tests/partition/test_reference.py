"""Dirichlet and pathological give flwr-datasets' indices for the same seed.

``reference.json`` was recorded from that package; it says with which version and how.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fedcore.errors import PartitionError
from fedcore.partition.dirichlet import dirichlet
from fedcore.partition.pathological import pathological

REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text())


def recipe(name: str) -> npt.NDArray[np.int64]:
    made = REFERENCE["recipes"][name]
    return np.random.default_rng(made["seed"]).choice(made["classes"], made["size"])


def split(case: dict[str, Any]) -> list[list[int]]:
    call = dict(case["call"])
    labels, generator = recipe(case["labels"]), np.random.default_rng(call.pop("seed"))
    if case["method"] == "dirichlet":
        parts = dirichlet(labels, call.pop("num_partitions"), generator=generator, **call)
    else:
        parts = pathological(
            labels,
            call["num_partitions"],
            call["num_classes_per_partition"],
            generator,
            class_assignment=call["class_assignment_mode"],
        )
    assert all(part.dtype == np.int64 for part in parts)
    return [part.tolist() for part in parts]


@pytest.mark.parametrize("number", range(len(REFERENCE["cases"])))
def test_indices_equal_the_reference(number: int) -> None:
    case = REFERENCE["cases"][number]
    if case.get("refused"):
        with pytest.raises(PartitionError):
            split(case)
        return
    parts = split(case)
    assert [len(part) for part in parts][:8] == case["sizes"]
    assert [part[:3] for part in parts[:4]] == case["heads"]
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
    assert digest == case["sha256"]


def test_the_same_seeds_never_reach_the_minimum_size() -> None:
    group = REFERENCE["refused_seeds"]
    labels, refused = recipe(group["labels"]), []
    for seed in range(group["of"]):
        call = dict(group["call"])
        try:
            dirichlet(
                labels, call.pop("num_partitions"), generator=np.random.default_rng(seed), **call
            )
        except PartitionError:
            refused.append(seed)
    assert refused == group["seeds"]
