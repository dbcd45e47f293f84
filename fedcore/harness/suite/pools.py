"""Which pool makes the runs of a suite."""

from __future__ import annotations

from fedcore.cores import cores
from fedcore.engine import flower_engines as flower
from fedcore.engine.execution import Execution
from fedcore.harness.runs.lockstep import LockstepPool
from fedcore.harness.runs.processes import ProcessPool
from fedcore.harness.runs.ray import RayPool
from fedcore.harness.suite.options import Options

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


def say_stored(stored: int, planned: int, lost: list[str], place: str) -> str:
    """What an interrupted session leaves: runs in the store, runs that are ``lost``, by id."""
    left = planned - stored - len(lost)
    text = f"{stored} of {planned} runs are stored in {place}"
    if lost:
        text += f"; {len(lost)} that {'was' if len(lost) == 1 else 'were'} being made "
        text += f"{'is' if len(lost) == 1 else 'are'} lost ({', '.join(lost)})"
    return f"{text}; {left} had not begun. The same command goes on from there"
