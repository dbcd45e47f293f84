"""Attacks over Flower: in front of anybody's strategy, and refused where nobody stands in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.engine.execution import Execution
from fedcore.errors import AttackError
from fedcore.federation.federation import Federation
from fedcore.flower.client_app import app
from fedcore.flower.engine import GridEngine, known_facts
from fedcore.flower.local import LocalGrid, task_of
from fedcore.flower.server_app import run_on
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.flower.task import Task
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from tests.attacks.examples import Opposed, Overtrain

BASE: dict[str, Any] = {
    "dataset": "synthetic:300", "model": "mlp", "num_clients": 6, "fraction_train": 1.0,
    "rounds": 2, "malicious_fraction": 0.34,
}  # fmt: skip
FEDAVG = 'flwr.serverapp.strategy:FedAvg:{"fraction_evaluate": 0.0}'
DEPLOYED = {"min_clients": 6, "wait": 0, "timeout": None, "strict": True}


def test_a_flower_strategy_sees_what_the_attack_sends() -> None:
    scenario = Scenario(**BASE, attack="signflip(stretch=3)")
    ours = run(scenario, device="cpu", precision="float64")
    theirs = scenario.but(strategy="flower", strategy_spec=FEDAVG)
    record = run(theirs, device="cpu", precision="float64")
    assert record.audit.updates == ours.audit.updates
    assert record.accuracy == ours.accuracy
    assert record.loss == pytest.approx(ours.loss, rel=1e-12)
    calm = run(theirs.clean_twin(), device="cpu", precision="float64")
    assert calm.accuracy != record.accuracy
    assert calm.audit.updates == ()


def test_a_reply_without_a_model_is_named() -> None:
    scenario = Scenario(
        **BASE, attack="signflip", strategy="flower", strategy_spec=FEDAVG,
        client_mods="tests.flower.test_attacks:empty",
    )  # fmt: skip
    with pytest.raises(AttackError, match="the reply of client 0 in round 1 holds none"):
        run(scenario, device="cpu")


def empty(message: Any, context: Any, call_next: Any) -> Any:
    """A mod that takes the model out of the reply."""
    reply = call_next(message, context)
    for name in list(reply.content.array_records):
        del reply.content[name]
    return reply


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (SignFlip(), "each client would send its own"),
        (Opposed(), "nobody there sees the updates of the others"),
        (Scaled(of=Opposed(), gamma=2.0), "nobody there sees the updates of the others"),
    ],
    ids=["own", "benign", "composed"],
)
def test_a_deployment_refuses_attacks_on_updates(attack: Any, why: str) -> None:
    task = Task(Scenario(**BASE, attack=attack), 0)
    with pytest.raises(AttackError, match=why):
        run_on(LocalGrid(app, 6), task, engine="flower-deployment", **DEPLOYED)


@pytest.mark.parametrize("attack", ["backdoor(poison_ratio=0.5)", Overtrain()], ids=str)
def test_a_deployment_has_attacks_on_data_and_local_work(attack: Any) -> None:
    task = Task(Scenario(**BASE, attack=attack), 0)
    record = run_on(LocalGrid(app, 6), task, engine="flower-deployment", **DEPLOYED)
    plain = run(task.scenario, seed=0, device="cpu", engine="sequential")
    assert (record.model_digest, record.audit) == (plain.model_digest, plain.audit)


def test_flowers_own_loop_refuses_attacks_on_updates() -> None:
    scenario = Scenario(**BASE, attack="signflip")
    federation = Federation.prepare(scenario, 0, None, torch.device("cpu"))
    grid = LocalGrid(app, 6)
    engine = GridEngine(federation, task_of(federation, Execution(device="cpu")), grid)
    known = known_facts(federation)
    strategy = FedcoreStrategy(scenario, engine.layout, federation.cohort, known=known, seed=0)
    with pytest.raises(AttackError, match="in Flower's own loop, each client would send its own"):
        strategy.configure_train(1, None, None, grid)


def test_releases_that_clients_make_come_before_an_attack_on_updates() -> None:
    scenario = Scenario(**BASE, attack="signflip", privacy="localdp", epsilon=10.0)
    with pytest.raises(AttackError, match="clients over Flower make their releases themselves"):
        run(scenario, device="cpu", engine="flower-grid")
    assert run(scenario, device="cpu").audit.updates  # in one process the attack comes first
