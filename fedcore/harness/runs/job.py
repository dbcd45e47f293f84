"""What a worker does: run one scenario or several, store the records, hand them back."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.harness.runs import pulse
from fedcore.harness.runs.imports import NOTHING, Imports, Parcel
from fedcore.records.record import Record
from fedcore.records.store import Inputs, Run, Store, UnwrittenError
from fedcore.simulation.checkpoints import Checkpoints
from fedcore.simulation.lockstep import lockstep, lockstep_key
from fedcore.simulation.runner import run as simulate
from fedcore.simulation.trial import RoundReport


@dataclass(frozen=True)
class Job:
    """One run and where its record goes; travels to a worker process.

    Without ``inputs`` and ``store`` the record is only handed back. ``imports`` are what a process
    must have imported to read it: a component registers itself when its module is imported.
    ``checkpoint`` is a folder from which the run goes on, and in which it saves itself.
    """

    run: Run
    inputs: Inputs | None
    store: Store | None
    data_dir: Path
    execution: Execution
    imports: Imports = NOTHING
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Failure:
    """A run that ended in an error; ``expected`` if fedcore raised it on purpose."""

    message: str
    expected: bool


def deliver(run: Callable[[Job], Record | Failure], parcel: Parcel[Job]) -> Record | Failure:
    """Do the packed job with ``run`` in this process, once it has imported what that needs."""
    try:
        job = parcel.open()
    except FedcoreError as error:
        return _refused(error)
    except Exception:  # raised while a worker reads its queue it would end the worker
        return Failure(traceback.format_exc(), expected=False)
    return run(job)


def packed(job: Job) -> Parcel[Job] | Failure:
    """``job`` for another process; a Failure where its objects exist in this one only."""
    try:
        return Parcel.of(job, job.imports)
    except Exception as error:
        return Failure(
            f"{job.run.id} cannot be handed to a worker process ({error}): define its components "
            "at the top of a module, or give --jobs 1",
            expected=True,
        )


def execute(job: Job) -> Record | Failure:
    """Run ``job`` in this process. Errors are values, so that one run cannot end the others."""
    try:
        how = dataclasses.asdict(job.execution)
        places = None
        if job.checkpoint is not None:
            places = Checkpoints(job.checkpoint, lenient=True)
        record = simulate(
            job.run.scenario,
            job.run.seed,
            data_dir=job.data_dir,
            on_round=pulse.beat,
            checkpoint=places,
            **how,
        )
    except FedcoreError as error:
        return _refused(error)
    except Exception:
        return Failure(traceback.format_exc(), expected=False)
    return _stored(job, record)


def execute_many(jobs: Sequence[Job]) -> Iterator[tuple[Job, Record | Failure] | None]:
    """Run ``jobs`` in this process: in lockstep where they are stacked.

    Yields each job with its result as soon as it is there, and None after each round of a run, so
    that a caller can show that time passes. A bug ends only what trains together.
    """
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        if not job.execution.stacks:
            yield job, execute(job)
            continue
        key = job.execution, job.data_dir, lockstep_key(job.run.scenario)
        groups.setdefault(key, []).append(job)
    for group in groups.values():
        yield from _together(group)


def _together(jobs: list[Job]) -> Iterator[tuple[Job, Record | Failure] | None]:
    """Run ``jobs``, of one network and solver, in lockstep."""
    unfinished = dict.fromkeys(jobs)
    runs = [(job.run.scenario, job.run.seed) for job in jobs]
    try:
        for place, event in lockstep(runs, jobs[0].execution, jobs[0].data_dir):
            if isinstance(event, RoundReport):
                yield None
                continue
            job = jobs[place]
            del unfinished[job]
            yield job, _stored(job, event) if isinstance(event, Record) else _refused(event)
        return
    except Exception:
        failure = Failure(traceback.format_exc(), expected=False)
    yield from ((job, failure) for job in unfinished)


def _stored(job: Job, record: Record) -> Record | Failure:
    """``record``, once it is where it belongs.

    So, too, where that is full: it can be judged, and whoever asked for it sees that it is missing.
    """
    try:
        if job.store is not None and job.inputs is not None:
            job.store.put(job.run, job.inputs, record)
    except UnwrittenError:
        return record
    except FedcoreError as error:
        return _refused(error)
    return record


def _refused(error: FedcoreError) -> Failure:
    return Failure(f"{type(error).__name__}: {error}", expected=True)
