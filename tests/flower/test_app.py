"""The app in pyproject.toml: keys mirror Scenario; strategy and clients without the engine."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from docs.flower.demo import config_of
from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.federation.federation import Federation
from fedcore.flower.arrays import to_arrays
from fedcore.flower.client_app import app
from fedcore.flower.engine import GridEngine, known_facts
from fedcore.flower.local import LocalGrid, quiet, task_of
from fedcore.flower.nodes import Nodes, held
from fedcore.flower.results import keep
from fedcore.flower.server_app import run_on
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.flower.task import Task
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.records.store import Run
from fedcore.scenario import Scenario
from fedcore.scenario.wire import NAMES
from fedcore.simulation.runner import run

ROOT = Path(__file__).resolve().parents[2]
HOW = {
    "seed", "device", "precision", "data-dir", "min-clients", "wait", "timeout", "strict", "json",
    "engine", "results", "node-keys", "num-partitions",
}  # fmt: skip
quiet()


def config() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def test_run_config_has_the_fields_that_scenarios_had_and_one_key_for_all_others() -> None:
    fields = {name.replace("_", "-") for name in NAMES}
    assert len(fields) == 58
    assert set(config()) == fields | HOW | {"scenario"}
    assert Task.from_run_config(config()).scenario == Scenario()


def test_the_key_scenario_takes_flags() -> None:
    def of(flags: str, **values: object) -> Scenario:
        return Task.from_run_config({**config(), **values, "scenario": flags}).scenario

    assert of("--partition 'dirichlet(alpha=0.1)' --rounds=3 --grayscale") == Scenario(
        partition="dirichlet", alpha=0.1, rounds=3, grayscale=True
    )
    assert of("--lr 0.2 --no-grayscale", lr=0.1, grayscale=True) == Scenario(lr=0.2)
    with pytest.raises(ScenarioError) as caught:
        of("--strateg krum --lr")
    assert [p.partition(".")[0] for p in caught.value.problems] == [
        "unknown flag '--strateg'", "flag '--lr' needs a value",
    ]  # fmt: skip
    with pytest.raises(ScenarioError, match="No closing quotation"):
        of("--attack 'alie")


def test_overrides_of_the_run_config() -> None:
    values = {"local-epochs": "1-3", "alpha": 0.1, "partition": "dirichlet", "momentum": "0.5"}
    task = Task.from_run_config({**config(), **values, "seed": 4, "device": "cpu"})
    assert task.seed == 4
    assert task.scenario == Scenario(
        local_epochs=(1, 3), alpha=0.1, partition="dirichlet", momentum=0.5
    )
    with pytest.raises(ScenarioError, match="unknown strategy 'fednava'"):
        Task.from_run_config({**config(), "strategy": "fednava"})


def test_a_task_survives_the_way_to_a_client(tiny: Scenario) -> None:
    task = Task(tiny, 3, "float64", "cpu", "/data")
    assert Task.from_json(task.to_config()["fedcore"]) == task
    assert Task.from_run_config({**config(), **config_of(tiny), "device": "cpu"}).scenario == tiny
    with pytest.raises(FedcoreError, match="this is no task of fedcore"):
        Task.from_json("[]")


@pytest.mark.parametrize(("partition", "of", "clients"), [
    (0, 4, (0, 4)), (3, 4, (3,)), (5, 6, (5,)), (2, 3, (2, 5)),
])  # fmt: skip
def test_clients_of_a_node(partition: int, of: int, clients: tuple[int, ...]) -> None:
    assert held({"partition-id": partition, "num-partitions": of}, 6 if of != 4 else 5) == clients


@pytest.mark.parametrize("config", [{}, {"partition-id": -1}, {"partition-id": 6}])
def test_a_node_without_a_partition_is_refused(config) -> None:
    with pytest.raises(ValueError, match="a SuperNode needs partition-id"):
        held(config, 6)


class Half(LocalGrid):
    """Two nodes for all clients."""

    def __init__(self) -> None:
        super().__init__(app, 2)


def test_few_nodes_hold_many_clients(tiny: Scenario) -> None:
    task = Task(tiny, 0)
    record = run_on(Half(), task, min_clients=6, wait=0, timeout=None, strict=True)
    plain = run(tiny, device="cpu", engine="sequential")
    assert (record.model_digest, record.audit) == (plain.model_digest, plain.audit)


def test_clients_that_keep_layers_need_nodes_of_their_own(tiny: Scenario) -> None:
    task = Task(tiny.but(strategy="fedbn"), 0)
    with pytest.raises(FedcoreError, match="'fedbn' needs a SuperNode for each of the 6 clients"):
        run_on(Half(), task, min_clients=6, wait=0, timeout=None, strict=True)


def test_too_few_clients_are_waited_for_and_reported(tiny: Scenario) -> None:
    with pytest.raises(FedcoreError, match="2 of 6 clients are connected after 0 s"):
        run_on(
            _Sparse(), Task(tiny, 0), min_clients=6, wait=0,
            timeout=None, strict=True,
        )  # fmt: skip


class _Sparse(LocalGrid):
    """Six nodes of which two are connected."""

    def __init__(self) -> None:
        super().__init__(app, 6)

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)[:2]


@pytest.mark.parametrize(
    "changes", [{"strategy": "fednova"}, {"strategy": "median", "preaggregation": "bucketing"}]
)
def test_flowers_own_loop_ends_in_the_same_model(tiny: Scenario, changes) -> None:
    """`FedcoreStrategy.start` on a grid, as in anybody's ServerApp."""
    scenario = tiny.but(**changes)
    federation = Federation.prepare(scenario, 2, None, torch.device("cpu"))
    task = task_of(federation, Execution(device="cpu"))
    grid = LocalGrid(app, scenario.num_clients)
    engine = GridEngine(federation, task, grid)
    start = engine.initial_state()
    strategy = FedcoreStrategy(
        scenario, engine.layout, federation.cohort, known=known_facts(federation), seed=2
    )
    result = strategy.start(
        grid,
        to_arrays(engine.layout, start.vector, start.counters),
        num_rounds=scenario.rounds,
        train_config=task.to_config(),
    )
    by_hand = run(scenario, seed=2, device="cpu", engine="flower-grid")
    state = engine.layout.flatten(result.arrays.to_torch_state_dict())
    from fedcore.exchange.layout import digest

    assert digest(*state) == by_hand.model_digest


def test_a_chain_in_flowers_own_loop_needs_the_seed(tiny: Scenario) -> None:
    scenario = tiny.but(strategy="median", preaggregation="bucketing")
    federation = Federation.prepare(scenario, 2, None, torch.device("cpu"))
    layout = GridEngine(
        federation, task_of(federation, Execution(device="cpu")), LocalGrid(app, 6)
    ).layout
    with pytest.raises(FedcoreError, match=r"'bucketing\(size=2\)' draws by the seed of the run"):
        FedcoreStrategy(scenario, layout, federation.cohort)


def test_the_server_app_mixes_as_the_plain_engine_does(tiny: Scenario) -> None:
    task = Task(tiny.but(strategy="median", preaggregation="bucketing"), 3)
    record = run_on(LocalGrid(app, 6), task, min_clients=6, wait=0, timeout=None, strict=True)
    plain = run(task.scenario, seed=3, device="cpu", engine="sequential")
    assert (record.model_digest, record.audit) == (plain.model_digest, plain.audit)


def test_a_client_asked_for_another_refuses(tiny: Scenario) -> None:
    grid = LocalGrid(app, 6)
    message = Message(
        RecordDict({"config": ConfigRecord({**Task(tiny, 0).to_config(), "client": 4})}),
        2,
        MessageType.TRAIN,
    )
    (reply,) = grid.send_and_receive([message])
    assert reply.has_error()


def test_simulations_are_strict(tiny: Scenario) -> None:
    federation = Federation.prepare(tiny, 0, None, torch.device("cpu"))
    task = task_of(federation, Execution(device="cpu"))
    engine = GridEngine(federation, task, _Sparse())
    with pytest.raises(FedcoreError, match="client 2 of a simulation failed in round 1: no node"):
        engine.train(engine.initial_state(), 1, (0, 1, 2))


def test_missing_clients_are_in_the_audit(tiny: Scenario) -> None:
    task = Task(tiny.but(rounds=2), 0)
    record = run_on(_Sparse(), task, min_clients=2, wait=0, timeout=None, strict=False)
    absent = {(e.round, e.client) for e in record.audit.excluded}
    assert absent == {(r, c) for r in (1, 2) for c in (2, 3, 4, 5)}
    from fedcore.records.record import Record

    assert Record.from_json(record.to_json()) == record


def test_results_land_in_the_store_of_the_suite(tiny: Scenario, tmp_path: Path) -> None:
    task = Task(tiny, 0)
    record = run_on(LocalGrid(app, 6), task, min_clients=6, wait=0, timeout=None, strict=True)
    keep(record, task, tmp_path)
    options = Options(engine="flower-ray", device="cpu", results=tmp_path)
    lab = Lab(options, Thresholds((), Noise(2, 4)))
    try:
        assert lab.result(Run(tiny, 0)) == record
        assert lab.progress.stored == 1
    finally:
        lab.close()


def test_two_nodes_that_claim_a_partition(tiny: Scenario) -> None:
    grid = LocalGrid(app, 6)
    first, second = list(grid.contexts)[:2]
    grid.contexts[second].node_config["partition-id"] = 0
    nodes = Nodes(6)
    nodes.refresh(grid)
    assert nodes.node_of(0) == first
    assert nodes.node_of(1) is None
    context: Context = grid.contexts.pop(first)
    nodes.refresh(grid)
    assert nodes.node_of(0) is None
    assert context.node_id == first


@pytest.mark.parametrize("name", ["data", "code"])
def test_a_client_with_other_data_or_code_refuses(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The server would sign for what its clients trained on and how."""
    real = Task.to_config
    other = {name: "0" * 16}
    monkeypatch.setattr(Task, "to_config", lambda self: real(replace(self, **other)))
    with pytest.raises(FedcoreError, match=f"this client has other {name} than the server"):
        run_on(LocalGrid(app, 6), Task(tiny, 0), min_clients=6, wait=0, timeout=None, strict=True)
    monkeypatch.undo()
    task = Task(tiny, 0)
    run_on(LocalGrid(app, 6), task, min_clients=6, wait=0, timeout=None, strict=True)
