"""Records of Flower runs in the store where `pytest benchmark` looks for them."""

from __future__ import annotations

from pathlib import Path

import torch

from fedcore.data.loading import data_directory
from fedcore.flower.task import Task
from fedcore.records.inputs import inputs_with
from fedcore.records.record import Record
from fedcore.records.store import Run, Store


def keep(record: Record, task: Task, root: Path) -> Path:
    """Store ``record`` below ``root`` under its key; the place. Raises StoreError."""
    folder, device = data_directory(task.data_dir), torch.device(task.device)
    inputs = inputs_with(task.scenario, folder, record.engine, device)
    return Store(root.resolve()).put(Run(task.scenario, task.seed), inputs, record)
