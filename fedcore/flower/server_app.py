"""The ServerApp: `flwr run .` runs the scenario of the run config and stores its record."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedcore.cli.progress import RoundLines, summary
from fedcore.errors import FedcoreError
from fedcore.execution import exact_arithmetic
from fedcore.federation import Federation
from fedcore.flower.engine import GridEngine
from fedcore.flower.nodes import Nodes
from fedcore.flower.results import keep
from fedcore.flower.task import Task
from fedcore.record import Record
from fedcore.simulation import simulate

app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Run the scenario, print what `fedcore run` prints, store the record."""
    config = context.run_config
    task = Task.from_run_config(config)
    record = run_on(
        grid,
        task,
        min_nodes=int(config.get("min-nodes", 0)) or task.scenario.num_clients,
        wait=float(config.get("wait", 60)),
        timeout=float(config.get("timeout", 0)) or None,
        strict=bool(config.get("strict", True)),
    )
    print(summary(record), flush=True)
    place = str(config.get("results", ""))
    if place:
        path = keep(record, task, Path(place))
        print(f"{'stored':<10}{path}", flush=True)


def run_on(
    grid: Grid,
    task: Task,
    *,
    min_nodes: int,
    wait: float,
    timeout: float | None,
    strict: bool,
    label: str = "flower-ray",
) -> Record:
    """Run ``task`` on the nodes of ``grid``; the record is that of the in-process run.

    Waits up to ``wait`` seconds for ``min_nodes`` clients, in each round up to ``timeout`` for
    replies. Unless ``strict``, clients that are missing or invalid are left out and listed in the
    audit. Raises FedcoreError where too few nodes come.
    """
    started = time.perf_counter()
    device = torch.device(task.device)
    with exact_arithmetic(device):
        federation = Federation.prepare(task.scenario, task.seed, task.data_dir, device)
        nodes = Nodes(task.scenario.num_clients, timeout)
        there = nodes.wait(grid, min_nodes, wait)
        if there < min_nodes:
            raise FedcoreError(
                f"{there} of {min_nodes} clients are connected after {wait:g} s: start as many "
                "SuperNodes as num-clients, each with a partition-id of its own"
            )
        engine = GridEngine(federation, task, grid, timeout=timeout, strict=strict, nodes=nodes)
        print(f"{task.scenario.id}, seed {task.seed}", flush=True)
        lines = RoundLines(task.scenario, _Out())
        return simulate(federation, engine, label, device, started, lines)
