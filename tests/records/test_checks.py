"""No run that fedcore makes is taken for a damaged record."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore import Scenario, run
from fedcore.attacks.attack import ATTACKS
from fedcore.components.registry import REQUIRED
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.partition.partitioner import PARTITIONERS
from fedcore.privacy.mechanism import PRIVACY
from fedcore.records.checks import record_problems
from fedcore.records.record import Record
from fedcore.strategies.strategy import STRATEGIES

BASE: dict[str, Any] = {"dataset": "synthetic:400", "model": "mlp", "num_clients": 10, "rounds": 3}
#: For parameters that have no default.
GIVEN: dict[str, Any] = {
    "alpha": 0.5,
    "classes_per_client": 2,
    "num_byzantine": 1,
    "num_selected": 2,
    "trim_fraction": 0.2,
    "norm_bound": 1.0,
    "mu": 0.1,
    "epsilon": 20.0,
    "delta": 1e-5,
    "clip_norm": 1.0,
    "noise_multiplier": 1.0,
    "source_class": 0,
    "target_class": 1,
    "sensitivity": 1.0,
    "server_momentum": 0.9,
    "radius": 0.05,
    "of": "backdoor(poison_ratio=0.5)",
    "last_round": 2,
}
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.25, "poison_ratio": 0.5}


def chosen() -> list[dict[str, Any]]:
    """Each component once, and what else changes the form of a record."""
    found: list[dict[str, Any]] = []
    kinds = {"strategy": STRATEGIES, "partition": PARTITIONERS, "attack": ATTACKS}
    for kind, registry in {**kinds, "privacy": PRIVACY}.items():
        for name in registry:
            if name == "flower":
                continue
            parameters = registry.entry(name).parameters
            needed = {p: GIVEN[p] for p, default in parameters.items() if default is REQUIRED}
            more = ATTACK if kind in ("attack", "strategy") else {}
            if kind == "attack" and "poison_ratio" not in registry.entry(name).part.specs():
                more = {"malicious_fraction": 0.25}
            if name in ("fedbn", "buffers"):
                more = {**more, "model": "cnn", "norm": "batch"}
            if name == "dba":  # a client for each part
                more = {**more, "malicious_fraction": 0.4}
            found.append({**more, kind: name, **needed})
    return [
        *found,
        {"attack": "scaled(of=backdoor(poison_ratio=0.5), gamma=4)", "malicious_fraction": 0.25},
        {**ATTACK, "redraw": True},
        {**ATTACK, "redraw": True, "lr": 1e6, "optimizer": "sgd", "rounds": 6},
        {"lr": 1e6, "optimizer": "sgd", "rounds": 7, "eval_every": 3},
        {**ATTACK, "absent_fraction": 0.5, "absent_rounds": 2.0, "min_present": 2},
        {"eval_every": 2, "validation_fraction": 0.3, "local_epochs": (1, 3)},
        {"privacy": "localdp", "epsilon": 20.0, "epsilon_budget": 30.0, "rounds": 9},
        {"partition": "dirichlet", "alpha": 0.02, "num_clients": 20, "min_partition_size": 0,
         "allow_incomplete": True, "fraction_train": 0.2, **ATTACK},
    ]  # fmt: skip


@pytest.mark.parametrize("changes", chosen(), ids=str)
def test_every_run_comes_back(changes: dict[str, Any]) -> None:
    for seed in range(2):
        try:
            record = run(
                Scenario(**{**BASE, "fraction_train": 0.75, **changes}), seed, device="cpu"
            )
        except ScenarioError:
            raise
        except FedcoreError as error:  # such as: nobody of the malicious takes part
            pytest.skip(str(error))
        assert record_problems(record) == []
        assert Record.from_json(record.to_json(), scenario=record.scenario) == record


def test_the_runs_above_diverge_and_stop_early() -> None:
    diverged = run(
        Scenario(**{**BASE, "lr": 1e6, "optimizer": "sgd", "rounds": 7, "eval_every": 3})
    )
    assert diverged.diverged is not None
    assert record_problems(dataclasses.replace(diverged, diverged=None)) == []
    stopped = run(
        Scenario(**{**BASE, "privacy": "localdp", "epsilon": 20.0, "epsilon_budget": 30.0})
        .but(rounds=9)
    )  # fmt: skip
    assert stopped.audit.privacy is not None
    assert stopped.audit.privacy.stopped == len(stopped.audit.cohorts) + 1


def npz(folder: Path, test_classes: list[int]) -> str:
    """A data set of three classes of which the test split has ``test_classes`` alone."""
    labels, scored = np.arange(60) % 3, np.resize(test_classes, 12)
    images = np.zeros((60, 8, 8), np.uint8) + 80 * labels[:, None, None].astype(np.uint8)
    path = folder / "part.npz"
    np.savez(
        path, train_images=images, train_labels=labels, test_images=images[scored],
        test_labels=scored,
    )  # fmt: skip
    return f"npz:{path}"


@pytest.mark.parametrize("changes", [{}, {"lr": 1e6, "optimizer": "sgd"}], ids=str)
def test_a_targeted_run_without_a_test_image_of_its_source_class_comes_back(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """It has no success rate: a cell is then void with the reason, not damaged."""
    attack = {"attack": "targetedflip", "source_class": 1, "target_class": 0}
    shares = {"malicious_fraction": 0.5, "poison_ratio": 1.0}
    data = {"dataset": npz(tmp_path, [0, 2]), "num_clients": 4}
    record = run(Scenario(**{**BASE, **data, **attack, **shares, **changes}), device="cpu")
    assert record.recall[0][1] is None or record.diverged == 1
    assert record_problems(record) == []
    if record.diverged is None:
        assert record.asr is None
        forged = dataclasses.replace(record, asr=(0.5,) * len(record.rounds))
        assert "without a test image of the source class" in record_problems(forged)[0]
