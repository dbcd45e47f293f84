"""Which pool makes the runs of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedcore.cores import cores
from fedcore.engine import flower_engines as flower
from fedcore.engine.execution import Execution
from fedcore.harness.runs.job import Job
from fedcore.harness.runs.lockstep import LockstepPool
from fedcore.harness.runs.processes import ProcessPool
from fedcore.harness.runs.ray import RayPool
from fedcore.harness.suite.options import Options
from fedcore.scenario import Scenario

#: Runs of so many rounds are saved every few of them.
LONG = 20

Pool = ProcessPool | RayPool | LockstepPool


def pool_of(options: Options, execution: Execution) -> Pool:
    """The pool that ``options`` ask for: lockstep on a GPU, Ray, or processes of this machine."""
    on_gpu = execution.torch_device.type == "cuda"
    if on_gpu and execution.stacks:  # compatible runs together: it pays there
        return LockstepPool()
    if options.executor == "ray":
        return RayPool(options.ray_address, options.jobs, patience=options.worker_timeout)
    if options.engine == "flower-ray":  # it brings processes of its own
        flower.keep_between_runs()
        return ProcessPool(1)
    # a GPU is one shared resource; the CPU has a worker for each core
    jobs = 1 if on_gpu else options.jobs or cores()
    return ProcessPool(jobs, patience=options.worker_timeout)


def checkpoints_of(scenario: Scenario, root: Path, options: Options) -> Path | None:
    """Where a run of ``scenario`` saves itself, below ``root``; None for short ones.

    None, too, for those on a cluster, whose nodes have other file systems, and under --fresh.
    """
    if scenario.rounds < LONG or options.fresh or options.executor == "ray":
        return None
    return root / "checkpoints"


def say_stored(stored: int, planned: int, lost: Sequence[Job], place: Path) -> str:
    """What an interrupted session leaves: runs in the store at ``place``, and ``lost`` ones."""
    text = f"{stored} of {planned} runs are stored in {place}"
    if lost:
        ids = ", ".join(job.run.id for job in lost)
        text += f"; {len(lost)} were being made and are lost ({ids})"
        if any(job.checkpoint is not None for job in lost):
            text += f", but for what was saved of those of {LONG} rounds or more"
    left = planned - stored - len(lost)
    return f"{text}; {left} had not begun. The same command goes on from there"
