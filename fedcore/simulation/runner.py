"""The round loop: run(scenario, seed) -> Record."""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Callable
from pathlib import Path

from fedcore.engine.execution import Execution
from fedcore.engine.interface import ENGINES
from fedcore.errors import ScenarioError
from fedcore.federation.federation import Federation
from fedcore.lifeline import WORKER_TIMEOUT
from fedcore.records.provenance import code_of
from fedcore.records.record import Record
from fedcore.scenario import Scenario
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
) -> Record:
    """Train ``scenario`` with ``seed`` and return its record.

    ``data_dir`` holds data sets and weights (default: $FEDCORE_DATA, else the user cache);
    ``device``, ``engine``, ``precision``, ``processes`` and ``worker_timeout`` say how to compute:
    see `Execution`.
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
    code_of(scenario, "")  # before what is not loaded yet is: it sees later changes
    with execution.arithmetic():
        federation = Federation.prepare(scenario, seed, data_dir, chosen)
        with contextlib.closing(ENGINES[execution.engine_name](federation, execution)) as made:
            return Trial(federation, made, execution.label, chosen, started, on_round).complete()
