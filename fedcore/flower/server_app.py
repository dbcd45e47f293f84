"""The ServerApp: `flwr run .` runs the scenario of the run config and stores its record."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid import HttpGrid

from fedcore.console import RoundLines, summary
from fedcore.errors import FedcoreError
from fedcore.federation.federation import Federation
from fedcore.flower.assault import require_simulation
from fedcore.flower.engine import GridEngine
from fedcore.flower.node_keys import read_keys
from fedcore.flower.nodes import Nodes
from fedcore.flower.results import keep
from fedcore.flower.task import Task
from fedcore.records.provenance import code_of
from fedcore.records.record import Record
from fedcore.simulation.trial import Trial

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario, print what `fedcore run` prints, store the record.

    Run-config keys beside those of the scenario: see [tool.flwr.app.config] in pyproject.toml.
    """
    config = context.run_config
    task = Task.from_run_config(config)
    timeout = float(config["timeout"])
    record = run_on(
        grid,
        task,
        min_clients=int(config["min-clients"]) or task.scenario.num_clients,
        wait=float(config["wait"]),
        timeout=timeout or None,
        strict=bool(config["strict"]),
        engine=str(config["engine"]),
        nodes=nodes_of(grid, config, task.scenario.num_clients),
    )
    print(summary(record), flush=True)
    if config["json"]:
        Path(str(config["json"])).write_text(record.to_json() + "\n", encoding="utf-8")
    if record.audit.excluded:
        print(f"{'left out':<10}{len(record.audit.excluded)} replies, see the audit", flush=True)
    elif config["results"]:  # what was found there must be what another run would give
        path = keep(record, task, Path(str(config["results"])))
        print(f"{'stored':<10}{path}", flush=True)


def nodes_of(grid: Grid, config: Mapping[str, Any], num_clients: int) -> Nodes:
    """Who may hold what in a run with the run config ``config``.

    ``node-keys`` names the file of `node_keys`, ``num-partitions`` how many partitions there are: 0
    stands for one a client in a deployment, and for what its nodes say in a simulation, which has
    no keys. FedcoreError where both are given and differ, or one is no such value.
    """
    path, number = str(config.get("node-keys", "")), config.get("num-partitions", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise FedcoreError(f"num-partitions must be an integer >= 0, got {number!r}")
    keys = read_keys(Path(path).expanduser()) if path else None
    if keys is not None and number not in (0, len(keys)):
        raise FedcoreError(
            f"num-partitions={number}, but {path} has the keys of {len(keys)} partitions: leave "
            "num-partitions out, or correct the file"
        )
    deployed = isinstance(grid, HttpGrid)
    if keys is not None and not deployed:
        raise FedcoreError("node-keys: the nodes of a simulation have no keys: leave node-keys out")
    partitions = number or (num_clients if deployed else None)
    timeout = float(config["timeout"]) or None
    return Nodes(num_clients, timeout, partitions=partitions, keys=keys)


def run_on(
    grid: Grid,
    task: Task,
    *,
    min_clients: int,
    wait: float,
    timeout: float | None,
    strict: bool,
    engine: str = "flower-ray",
    nodes: Nodes | None = None,
) -> Record:
    """Run ``task`` on the nodes of ``grid``; the record is that of the in-process run.

    Waits up to ``wait`` seconds for ``min_clients`` clients, in each round up to ``timeout`` for
    replies. ``engine`` is what the record calls this way of running. Unless ``strict``, clients
    that are missing or invalid are left out and listed in the audit. ``nodes`` say who may hold
    what. Raises FedcoreError where too few clients come.
    """
    started = time.perf_counter()
    if engine not in ("flower-ray", "flower-grid"):
        require_simulation(task.scenario, f"in a federation that runs as {engine!r}")
    device = torch.device(task.device)
    code_of(task.scenario, "")  # as `fedcore.simulation.runner.run` does
    with task.execution.arithmetic():
        federation = Federation.prepare(task.scenario, task.seed, task.data_dir, device)
        nodes = nodes or Nodes(task.scenario.num_clients, timeout)
        there = nodes.wait(grid, min_clients, wait)
        if there < min_clients:
            raise FedcoreError(
                f"{there} of {min_clients} clients are connected after {wait:g} s: start a "
                "SuperNode for each, with a partition-id of its own (a simulation: "
                f"num-supernodes={task.scenario.num_clients})"
                + "".join(f"; {remark}" for remark in nodes.remarks)
            )
        made = GridEngine(federation, task, grid, timeout=timeout, strict=strict, nodes=nodes)
        label = engine + ("" if task.precision == "float32" else f"-{task.precision}")
        print(f"{task.scenario.id}, seed {task.seed}", flush=True)
        lines = RoundLines(task.scenario, sys.stdout)
        return Trial(federation, made, label, device, started, lines).complete()
