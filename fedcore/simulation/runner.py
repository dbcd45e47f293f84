"""The round loop: run(scenario, seed) -> Record."""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Callable
from pathlib import Path

from fedcore.data.loading import data_directory
from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.errors import ScenarioError
from fedcore.federation.federation import Federation
from fedcore.lifeline import WORKER_TIMEOUT
from fedcore.records.inputs import inputs_of
from fedcore.records.provenance import code_of
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.checkpoints import Checkpoints
from fedcore.simulation.trial import RoundReport, Trial


def run(
    scenario: Scenario,
    seed: int = 0,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "float32",
    processes: int = 1,
    worker_timeout: float = WORKER_TIMEOUT,
    on_round: Callable[[RoundReport], None] | None = None,
    checkpoint: str | Path | Checkpoints | None = None,
    on_resume: Callable[[int], None] | None = None,
) -> Record:
    """Train ``scenario`` with ``seed`` and return its record.

    ``data_dir`` holds data sets and weights (default: $FEDCORE_DATA, else the user cache);
    ``device``, ``engine``, ``precision``, ``processes`` and ``worker_timeout`` say how to compute:
    see `Execution`.
    ``checkpoint`` is a folder, or says more of it: the run goes on from what is there of this very
    run, calls ``on_resume`` with the rounds that are made, and saves itself there every few rounds,
    to the same bits. Raises CheckpointError for a run that cannot be saved.
    Bitwise repeatable on one machine and device: on the CPU each process computes on one thread,
    as the number of threads changes the last bits.

    Raises a `FedcoreError`: DataError, ModelError or PartitionError for what cannot be set up,
    AttackError for an attack that would change nothing, PrivacyError for a promise that cannot
    be kept, IdentityError for an arm that is not what its name says, HelperLost where one of
    several ``processes`` was ended or hangs.
    """
    try:
        number = operator.index(seed)  # numpy's integers, too, which no JSON could hold
    except TypeError:
        number = -1
    if number < 0:
        raise ScenarioError([f"seed must be an integer >= 0, got {seed!r}"])
    seed = number
    started = time.perf_counter()
    execution = Execution(engine, device, precision, processes, worker_timeout).fitting(scenario)
    chosen = execution.torch_device
    places = checkpoint
    if isinstance(places, (str, Path)):
        places = Checkpoints(Path(places))
    code_of(scenario, "")  # before what is not loaded yet is: it sees later changes
    with execution.arithmetic():
        federation = Federation.prepare(scenario, seed, data_dir, chosen)
        with contextlib.closing(ENGINES[execution.engine_name](federation, execution)) as made:
            trial = Trial(federation, made, execution.label, chosen, started, on_round)
            if places is None:
                return trial.complete()
            inputs = inputs_of(scenario, data_directory(data_dir), execution)
            if (keeper := places.of(trial, inputs)) is None:
                return trial.complete()
            if (rounds := keeper.resume()) and on_resume is not None:
                on_resume(rounds)
            return keeper.complete()
