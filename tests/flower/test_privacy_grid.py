"""Private runs over a grid: the plain engine's bits, accounts of what was sent, what is refused."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import torch
from flwr.app import Array, ArrayRecord, Message

from fedcore.errors import PrivacyError
from fedcore.exchange.layout import digest
from fedcore.federation.federation import Federation
from fedcore.flower.arrays import to_arrays
from fedcore.flower.client_app import app
from fedcore.flower.local import LocalGrid
from fedcore.flower.server_app import run_on
from fedcore.flower.strategy import FedcoreStrategy
from fedcore.flower.task import Task
from fedcore.privacy.noise import SecureNoise, SeededNoise
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run
from tests.flower.wire import MECHANISMS, SYSTEM


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("changes", [
    {}, {"strategy": "fednova"}, {"strategy": "fedbn", "fraction_train": 0.5},
], ids=["fedavg", "fednova", "fedbn"])  # fmt: skip
def test_in_simulation_the_grid_equals_the_plain_engine(
    tiny: Scenario, name: str, changes: dict[str, Any]
) -> None:
    """Bit for bit, and the statement too but for what no server learns over a network."""
    if name == "dpsgd":
        pytest.importorskip("opacus")
        changes = {} if changes.get("strategy") == "fedbn" else changes
    if name == "centraldp":
        changes = {}
    scenario = tiny.but(**MECHANISMS[name], **changes)
    plain = run(scenario, 3, device="cpu", engine="sequential")
    grid = run(scenario, 3, device="cpu", engine="flower-grid")
    assert (grid.model_digest, grid.accuracy, grid.loss) == (
        plain.model_digest, plain.accuracy, plain.loss,
    )  # fmt: skip
    one, other = plain.audit.privacy, grid.audit.privacy
    assert one is not None
    assert other is not None
    unknown = {"clipped": None, "non_finite": None} if name != "centraldp" else {}
    assert dataclasses.replace(one, notes=(), **unknown) == dataclasses.replace(other, notes=())
    assert one.notes[1:] == other.notes[1:]
    assert one.notes[0].startswith("simulated in one place")
    assert dataclasses.replace(plain.audit, privacy=None) == dataclasses.replace(
        grid.audit, privacy=None
    )
    assert Record.from_json(grid.to_json()) == grid


class Loses(LocalGrid):
    """A grid on which client 1 trains, and its reply is lost."""

    def _answer(self, message: Message) -> Message:
        reply = super()._answer(message)
        if message.metadata.message_type == "train" and message.metadata.dst_node_id == 3:
            reply.metadata.__dict__["_src_node_id"] = 99
        return reply


@pytest.mark.parametrize(("name", "counted"), [("localdp", 2), ("centraldp", 0)])
def test_a_release_that_is_lost_is_accounted_for(tiny: Scenario, name: str, counted: int) -> None:
    """It left the client; a server that is trusted makes no release of what it does not have."""
    scenario = tiny.but(**MECHANISMS[name], rounds=2)
    record = run_on(
        Loses(app, 6), Task(scenario, 3), min_clients=6, wait=0, timeout=None, strict=False
    )
    assert {e.client for e in record.audit.excluded} == {1}
    assert record.audit.privacy.participations == (2, counted, 2, 2, 2, 2)


def loop(scenario: Scenario, nodes: dict[str, Any] | None = None) -> tuple[FedcoreStrategy, str]:
    """Flower's own loop: the strategy, and the digest of the model in which it ends."""
    federation = Federation.prepare(scenario, 3, None, torch.device("cpu"))
    task = Task(scenario, 3)
    engine = task.engine(federation)
    start = engine.initial_state()
    strategy = FedcoreStrategy(scenario, engine.layout, federation.cohort)
    result = strategy.start(
        LocalGrid(app, scenario.num_clients, nodes),
        to_arrays(engine.layout, start.vector, start.counters),
        num_rounds=scenario.rounds,
        train_config=task.to_config(),
    )
    return strategy, digest(*engine.layout.flatten(result.arrays.to_torch_state_dict()))


def test_flowers_own_loop_gets_releases_too(tiny: Scenario) -> None:
    scenario = tiny.but(**MECHANISMS["localdp"])
    strategy, model = loop(scenario)
    assert model == run(scenario, 3, device="cpu", engine="sequential").model_digest
    assert strategy.generators is not None
    assert strategy.generators.description == SeededNoise.description
    strategy, other = loop(scenario, SYSTEM)
    assert other != model
    assert strategy.generators.description == SecureNoise.description


@pytest.mark.parametrize(("changes", "message"), [
    (MECHANISMS["centraldp"], "centraldp needs the server's noise, which Flower's own loop"),
    ({**MECHANISMS["localdp"], "epsilon_budget": 99.0}, "epsilon_budget=99 needs an account"),
])  # fmt: skip
def test_flowers_own_loop_refuses_what_it_cannot_keep(tiny: Scenario, changes, message) -> None:
    with pytest.raises(PrivacyError, match=message):
        loop(tiny.but(**changes))


@pytest.mark.parametrize(("forge", "reason"), [
    (lambda a: a.update(more=Array(np.zeros(1))), "missing or unknown: more"),
    (lambda a: a.pop("release"), "missing or unknown: release"),
    (lambda a: a.update(release=Array(np.zeros(3))), r"release has shape \(3,\), must be"),
    (lambda a: a.update(release=Array(np.full(a["release"].shape, np.nan))), "is not finite"),
    (lambda a: a.update(release=Array(np.full(a["release"].shape, 1e39))), "is not finite"),
    (lambda a: a.update(release=Array(np.full(a["release"].shape, 1, np.longdouble))), None),
    (lambda a: a.update(release=Array(np.full(a["release"].shape, 1, ">f4"))), None),
    (lambda a: a.update(release=Array("float32", (1,), "numpy.ndarray", b"x")), "cannot be read"),
], ids=["extra", "missing", "shape", "nan", "range", "wide", "bytes swapped", "bytes"])  # fmt: skip
def test_a_release_that_breaks_the_rules_is_left_out(tiny: Scenario, forge, reason) -> None:
    class Hostile(LocalGrid):
        def _answer(self, message: Message) -> Message:
            reply = super()._answer(message)
            if message.metadata.message_type == "train" and message.metadata.dst_node_id == 3:
                arrays = dict(reply.content.array_records["arrays"])
                forge(arrays)
                reply.content["arrays"] = ArrayRecord(arrays)
            return reply

    scenario = tiny.but(**MECHANISMS["localdp"], rounds=1)
    record = run_on(
        Hostile(app, 6), Task(scenario, 3), min_clients=6, wait=0, timeout=None, strict=False
    )
    excluded = record.audit.excluded
    assert [e.client for e in excluded] == ([] if reason is None else [1])
    assert reason is None or re.search(reason, excluded[0].reason), excluded
