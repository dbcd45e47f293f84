"""What a run depends on here, as digests: one function for all that file records in a store."""

from __future__ import annotations

from pathlib import Path

import torch

from fedcore.data.loading import load
from fedcore.engine.execution import Execution
from fedcore.models.weights import weights_digest, weights_file
from fedcore.native.kernels import kernels
from fedcore.records.provenance import code_of, device_name, processor
from fedcore.records.store import Inputs
from fedcore.scenario import Scenario


def inputs_of(scenario: Scenario, data_dir: Path, execution: Execution) -> Inputs:
    """Data, weights, code, versions, kernels and machine of ``scenario`` run by ``execution``.

    Raises a FedcoreError where data or weights are not to be had, or no engine fits.
    """
    fitting = execution.fitting(scenario)
    return inputs_with(scenario, data_dir, fitting.label, fitting.torch_device)


def inputs_with(scenario: Scenario, data_dir: Path, engine: str, device: torch.device) -> Inputs:
    """The same for a run that the engine labelled ``engine`` makes or has made on ``device``."""
    weights = weights_file(scenario.weights, scenario.model, data_dir)
    code = code_of(scenario, engine)
    return Inputs(
        data=load(scenario.data, data_dir, scenario.image_size).digest,
        weights=None if weights is None else weights_digest(weights),
        code=code.own,
        foreign=code.foreign,
        versions=code.versions,
        kernels=kernels(),
        machine=f"{processor()}, {device_name(device)}",
        engine=engine,
    )
