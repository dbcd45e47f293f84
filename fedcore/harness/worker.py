"""What a worker process does: run one scenario, store the record, hand it back."""

from __future__ import annotations

import dataclasses
import traceback
from dataclasses import dataclass
from pathlib import Path

from fedcore.errors import FedcoreError
from fedcore.execution import Execution
from fedcore.harness.store import Inputs, Run, Store
from fedcore.record import Record
from fedcore.simulation import run as simulate


@dataclass(frozen=True)
class Job:
    """One run and where its record goes; travels to a worker process.

    Without ``inputs`` and ``store`` the record is only handed back.
    """

    run: Run
    inputs: Inputs | None
    store: Store | None
    data_dir: Path
    execution: Execution


@dataclass(frozen=True)
class Failure:
    """A run that ended in an error; ``expected`` if fedcore raised it on purpose."""

    message: str
    expected: bool


def execute(job: Job) -> Record | Failure:
    """Run ``job`` in this process. Errors are values, so that one run cannot end the others."""
    try:
        how = dataclasses.asdict(job.execution)
        record = simulate(job.run.scenario, job.run.seed, data_dir=job.data_dir, **how)
        if job.store is not None and job.inputs is not None:
            job.store.put(job.run, job.inputs, record)
    except FedcoreError as error:
        return Failure(f"{type(error).__name__}: {error}", expected=True)
    except Exception:
        return Failure(traceback.format_exc(), expected=False)
    return record
