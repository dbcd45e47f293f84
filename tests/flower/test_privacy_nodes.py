"""A node's own config decides what it draws from and what it demands, never its server."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from fedcore.errors import FedcoreError, PrivacyError
from fedcore.flower import releases
from fedcore.flower.arrays import to_arrays
from fedcore.flower.client_app import app
from fedcore.flower.consent import Terms
from fedcore.flower.local import LocalGrid
from fedcore.flower.releases import draws_secretly
from fedcore.flower.server_app import run_on
from fedcore.flower.task import Task, Workshop
from fedcore.privacy.noise import SecureNoise
from fedcore.scenario import Scenario
from tests.flower.wire import MECHANISMS, SYSTEM


class Careless(LocalGrid):
    """A grid whose server tells nodes in every way it has to draw seeded noise."""

    def _answer(self, message: Message) -> Message:
        for key, record in list(message.content.config_records.items()):
            told = {releases.GENERATOR: "seeded", "noise": "seeded", "engine": "flower-grid"}
            message.content[key] = ConfigRecord({**record, **told})
        for context in self.contexts.values():
            context.run_config.update({releases.GENERATOR: "seeded", "engine": "flower-ray"})
        return super()._answer(message)


def test_no_server_switches_a_nodes_noise_to_the_seed(tiny: Scenario) -> None:
    scenario = tiny.but(**MECHANISMS["localdp"], rounds=1)
    digests = set()
    for _ in range(2):
        grid = Careless(app, 6, SYSTEM)
        record = run_on(grid, Task(scenario, 3), min_clients=6, wait=0, timeout=None, strict=True)
        assert record.audit.privacy.generator == SecureNoise.description
        digests.add(record.model_digest)
    assert len(digests) == 2


def test_nodes_that_differ_are_said_to(tiny: Scenario) -> None:
    scenario = tiny.but(**MECHANISMS["localdp"], rounds=1)
    grid = LocalGrid(app, 6, SYSTEM)
    grid.contexts[2].node_config[releases.GENERATOR] = "seeded"
    record = run_on(grid, Task(scenario, 3), min_clients=6, wait=0, timeout=None, strict=True)
    told = record.audit.privacy.generator
    assert "in 5 replies" in told
    assert told.endswith("in 1")


def test_a_node_chooses_its_generator_by_its_own_config(monkeypatch: pytest.MonkeyPatch) -> None:
    assert draws_secretly({})
    assert draws_secretly({"privacy-noise": "system"})
    assert not draws_secretly({"privacy-noise": "seeded"})
    monkeypatch.setattr(releases, "_is_actor", lambda: True)
    assert not draws_secretly({}), "an actor of Flower's simulation"
    assert draws_secretly({"privacy-noise": "system"})
    with pytest.raises(FedcoreError, match=r"privacy-noise must be system or seeded .* got 'off'"):
        draws_secretly({"privacy-noise": "off"})


def answers(scenario: Scenario, nodes: dict[str, Any]) -> Callable[..., str | None]:
    """A function that asks node 0 for a release: what its error says, None where it sends one."""
    grid = LocalGrid(app, 6, nodes)

    def ask(scenario: Scenario = scenario, run: str = "") -> str | None:
        single = Task(scenario, 3, run=run)
        engine = Workshop.of(single).engine
        state = engine.initial_state()
        content = RecordDict(
            {
                "arrays": to_arrays(engine.layout, state.vector, state.counters),
                "config": ConfigRecord({**single.to_config(), "server-round": 1, "client": 0}),
            }
        )
        (reply,) = grid.send_and_receive([Message(content, 2, MessageType.TRAIN)])
        return str(reply.error.reason) if reply.has_error() else None

    return ask


def test_a_node_takes_no_task_of_another_mechanism_than_it_demands(tiny: Scenario) -> None:
    nodes = {"privacy": "localdp"}
    assert answers(tiny.but(**MECHANISMS["localdp"]), nodes)() is None
    for name in ("clip", "centraldp"):
        told = answers(tiny.but(**MECHANISMS[name]), nodes)()
        assert f"this node demands privacy='localdp', the task has '{name}'" in told
    assert "the task has None: nothing was trained" in answers(tiny, nodes)()


class Trace:
    """A mod that leaves a trace when it is made."""

    made: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.made.append("made")

    def __call__(self, message: Message, context: Context, call_next: Any) -> Message:
        return call_next(message, context)


def test_a_node_loads_nothing_of_a_task_that_it_refuses(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("traces")
    module.Trace = Trace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "traces", module)
    scenario = tiny.but(
        strategy="flower", strategy_spec="flwr.serverapp.strategy:FedAvg",
        client_mods="traces:Trace",
    )  # fmt: skip
    assert "the task has None" in answers(scenario, {"epsilon-budget": 9.0})()
    assert Trace.made == []
    assert answers(scenario, {})() is None
    assert Trace.made == ["made"]


def test_a_node_spends_no_more_than_its_budget_whatever_the_server_calls_it(
    tiny: Scenario,
) -> None:
    """At epsilon 1 a release, 2 cost 1.465 and 3 cost 1.835; other parameters add."""
    one = tiny.but(privacy="localdp", epsilon=1.0)
    ask = answers(one, {"epsilon-budget": 1.5})
    assert ask(run="a") is None
    assert ask(run="b") is None
    assert "would bring its epsilon to 1.835, this node's epsilon-budget is 1.5" in ask(run="c")
    ask = answers(one, {"epsilon-budget": 1.9})
    assert ask(one) is None
    assert "to 2, this" in ask(one.but(clip_norm=2.0))
    for name in ("clip", "centraldp"):
        assert answers(tiny.but(**MECHANISMS[name]), {"epsilon-budget": 99.0})() is not None
    half = one.but(neighbours="zero-out")
    assert "'zero-out', half the noise" in answers(half, {"epsilon-budget": 99.0})()
    loose = one.but(delta=0.5)
    assert "at delta 0.5 does not protect it" in answers(loose, {"epsilon-budget": 99.0})()
    assert answers(loose, {"epsilon-budget": 99.0, "delta": 0.6})() is None


@pytest.mark.parametrize(("config", "message"), [
    ({"privacy": 1}, "privacy must be a mechanism's name, got 1"),
    ({"epsilon-budget": "8"}, "epsilon-budget must be a number > 0, got '8'"),
    ({"epsilon-budget": -1.0, "delta": 2.0}, r"epsilon-budget .* got -1\.0; .* delta must be in"),
])  # fmt: skip
def test_demands_that_are_none(config, message) -> None:
    with pytest.raises(PrivacyError, match=message):
        Terms.of(Context(1, 2, config, RecordDict(), {}))


def test_mods_of_a_deployed_node_draw_from_the_system(tiny: Scenario) -> None:
    """Flower's LocalDpMod draws from NumPy's global generator, which simulations seed."""
    mod = {"clipping_norm": 1, "sensitivity": 1, "epsilon": 50, "delta": 1e-5}
    scenario = tiny.but(
        rounds=1, norm="none", strategy="flower",
        strategy_spec="flwr.serverapp.strategy:FedAvg:{}",
        client_mods=f"flwr.clientapp.mod:LocalDpMod:{json.dumps(mod)}",
    )  # fmt: skip
    digests = []
    for nodes in (None, None, SYSTEM, SYSTEM):
        grid = LocalGrid(app, 6, nodes)
        record = run_on(grid, Task(scenario, 3), min_clients=6, wait=0, timeout=None, strict=True)
        digests.append(record.model_digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
