"""Records of Flower runs in the store where `pytest benchmark` looks for them."""

from __future__ import annotations

from pathlib import Path

import torch

from fedcore.data.loading import data_directory, load
from fedcore.flower.task import Task
from fedcore.harness.store import Inputs, Run, Store
from fedcore.models.weights import weights_digest, weights_file
from fedcore.provenance import computing_code, fingerprint
from fedcore.record import Record


def keep(record: Record, task: Task, root: Path) -> Path:
    """Store ``record`` below ``root`` under its key; the place. Raises StoreError."""
    scenario, folder = task.scenario, data_directory(task.data_dir)
    weights = weights_file(scenario.weights, scenario.model, folder)
    inputs = Inputs(
        data=load(scenario.dataset, folder).digest,
        weights=None if weights is None else weights_digest(weights),
        code=computing_code(record.engine, scenario.strategy_spec),
        machine=fingerprint(torch.device(task.device)),
        engine=record.engine,
    )
    return Store(root.resolve()).put(Run(scenario, task.seed), inputs, record)
