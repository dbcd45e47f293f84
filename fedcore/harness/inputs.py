"""What a run depends on here, as digests: one function for all that file records in a store."""

from __future__ import annotations

from pathlib import Path

import torch

from fedcore.data.loading import load
from fedcore.execution import Execution
from fedcore.harness.store import Inputs
from fedcore.models.weights import weights_digest, weights_file
from fedcore.provenance import computing_code, fingerprint
from fedcore.scenario import Scenario


def inputs_of(scenario: Scenario, data_dir: Path, execution: Execution) -> Inputs:
    """Digests of data, weights, code and machine for ``scenario`` run as ``execution`` says.

    Raises a FedcoreError where data or weights are not to be had, or no engine fits.
    """
    fitting = execution.fitting(scenario)
    return inputs_with(scenario, data_dir, fitting.label, fitting.torch_device)


def inputs_with(scenario: Scenario, data_dir: Path, engine: str, device: torch.device) -> Inputs:
    """The same for a run that the engine labelled ``engine`` makes or has made on ``device``."""
    weights = weights_file(scenario.weights, scenario.model, data_dir)
    return Inputs(
        data=load(scenario.dataset, data_dir, scenario.image_size).digest,
        weights=None if weights is None else weights_digest(weights),
        code=computing_code(engine, scenario.strategy_spec, scenario.client_mods),
        machine=fingerprint(device),
        engine=engine,
    )
