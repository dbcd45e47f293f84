"""The bytes that leave a client: its release, what the statement calls clear, nothing else."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as Wire  # type: ignore[attr-defined]

from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import FedcoreError, PrivacyError
from fedcore.flower import releases
from fedcore.flower.arrays import to_arrays
from fedcore.flower.client_app import app
from fedcore.flower.consent import Terms
from fedcore.flower.local import LocalGrid
from fedcore.flower.releases import draws_secretly
from fedcore.flower.server_app import run_on
from fedcore.flower.task import Task, Workshop
from fedcore.privacy.base import PRIVACY, Facts
from fedcore.privacy.clipping import clip_rows
from fedcore.privacy.noise import SecureNoise, SeededNoise
from fedcore.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation import run
from fedcore.strategies.base import Cohort, ServerState
from fedcore.vector import Layout

SYSTEM: dict[str, str | float] = {}  # what a deployed node's own config says of noise: nothing
MECHANISMS: dict[str, dict[str, Any]] = {
    "localdp": {"privacy": "localdp", "epsilon": 50.0, "clip_norm": 0.01},
    "localdp, head": {"privacy": "localdp", "epsilon": 50.0, "clip_norm": 0.01, "released": "head"},
    "localdp, buffers": {"privacy": "localdp", "epsilon": 50.0, "buffers": "released"},
    "localdpmod": {"privacy": "localdpmod", "epsilon": 50.0},
    "clip": {"privacy": "clip", "clip_norm": 0.01},
    "centraldp": {"privacy": "centraldp", "epsilon": 50.0},
    "dpsgd": {"privacy": "dpsgd", "noise_multiplier": 1.0, "norm": "group"},
}
FACTS = {"num-examples", "client", "steps", "normalizer", "secret-noise"}


@dataclasses.dataclass
class Sent:
    """A training reply as bytes, with what the client trained and started from."""

    data: bytes
    round: int
    client: int
    raw: torch.Tensor
    state: ServerState


class Tapped(LocalGrid):
    """A grid that keeps the bytes of every training reply, and what each client had trained."""

    def __init__(
        self,
        clients: int,
        monkeypatch: pytest.MonkeyPatch,
        node_config: dict[str, str | float] | None = None,
    ) -> None:
        super().__init__(app, clients, node_config)
        self.sent: list[Sent] = []
        self.trained: list[tuple[int, int, torch.Tensor, ServerState]] = []
        train = SequentialEngine.train

        def watched(engine: SequentialEngine, state: ServerState, round: int, who: Any) -> Cohort:
            cohort = train(engine, state, round, who)
            kept = ServerState(state.vector.clone(), state.counters.clone())
            self.trained.append((round, *who, cohort.updates[0].clone(), kept))
            return cohort

        monkeypatch.setattr(SequentialEngine, "train", watched)

    def _answer(self, message: Message) -> Message:
        before = len(self.trained)
        reply = super()._answer(message)
        if len(self.trained) > before and reply.has_content():
            data = message_to_proto(reply).SerializeToString()
            self.sent.append(Sent(data, *self.trained[-1]))
        return reply


def records(data: bytes) -> dict[str, dict[str, Any]]:
    """All that a reply's bytes hold, by kind and name of its records: arrays decoded by NumPy."""
    found: dict[str, dict[str, Any]] = {"arrays": {}, "metrics": {}, "configs": {}}
    wire = Wire.FromString(data)
    assert not wire.HasField("error")
    for item in wire.content.items:
        kind = item.WhichOneof("value")
        if kind == "array_record":
            for part in item.array_record.items:
                values = np.load(io.BytesIO(part.value.data), allow_pickle=False)
                found["arrays"][f"{item.key}/{part.key}"] = values
        elif kind == "metric_record":
            for part in item.metric_record.items:
                number = getattr(part.value, part.value.WhichOneof("value"))
                found["metrics"][part.key] = number
        else:
            found["configs"][item.key] = str(item)
    return found


def wired(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Any] | None = None
) -> tuple[Record, Tapped]:
    """A run over a tapped grid, whose nodes are simulated ones unless ``nodes`` is their config."""
    grid = Tapped(scenario.num_clients, monkeypatch, nodes)
    clients = scenario.num_clients
    record = run_on(grid, Task(scenario, 3), min_clients=clients, wait=0, timeout=None, strict=True)
    assert len(grid.sent) == sum(map(len, record.audit.cohorts))
    return record, grid


def parts_of(scenario: Scenario) -> tuple[Any, Layout]:
    """The mechanism of ``scenario`` for the model that the wire carries, and its layout."""
    engine = Workshop.of(Task(scenario, 3)).engine
    clients = scenario.num_clients
    facts = Facts(3, engine.layout, (50,) * clients, (2,) * clients)
    return PRIVACY[scenario.privacy](scenario, facts), engine.layout


def fragments(vector: torch.Tensor, length: int = 4) -> list[bytes]:
    """Every ``length`` numbers of ``vector`` that move, as bytes of each type they could take."""
    windows = vector[: len(vector) // length * length].reshape(-1, length)
    windows = windows[(windows != 0).all(dim=1)]
    found = []
    for row in windows:
        for dtype in (np.float16, np.float32, np.float64):
            found.append(row.numpy().astype(dtype).tobytes())
    return found


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("nodes", [None, SYSTEM], ids=["simulated", "deployed"])
def test_a_reply_holds_the_release_and_what_the_statement_calls_clear(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch, name: str, nodes
) -> None:
    if name == "dpsgd":
        pytest.importorskip("opacus")
    scenario = tiny.but(**MECHANISMS[name], rounds=2)
    record, grid = wired(scenario, monkeypatch, nodes)
    mechanism, layout = parts_of(scenario)
    told = record.audit.privacy
    assert told is not None
    private = name not in ("clip", "centraldp", "dpsgd")  # of dpsgd training itself is
    for sent in grid.sent:
        content = records(sent.data)
        counters = "counters in clear" in told.released
        names = {"arrays/release", "arrays/counters"} if counters else {"arrays/release"}
        assert set(content["arrays"]) == names
        assert set(content["metrics"]) == FACTS
        assert content["configs"] == {}
        assert content["metrics"]["client"] == sent.client
        assert content["metrics"]["secret-noise"] == int(nodes is not None)
        release = content["arrays"]["arrays/release"]
        assert release.shape == (told.dimension,)
        # neither what was trained nor the model travels, in any record, in any type
        if private or name == "clip":
            for vector in (sent.raw, sent.state.vector + sent.raw):
                parameters = vector[: layout.num_parameters]
                assert not any(piece in sent.data for piece in fragments(parameters)[::7])
        else:
            assert np.array_equal(release, mechanism.release.take(sent.raw[None])[0])
    assert told.clipped is None or name == "centraldp", "nobody tells the server who was clipped"
    assert any("leaves it" in note for note in told.notes) == (name != "centraldp")


@pytest.mark.parametrize("name", ["localdp", "localdp, head", "localdp, buffers"])
def test_what_is_sent_is_the_clipped_update_and_noise_of_sigma(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scenario = tiny.but(**MECHANISMS[name], rounds=2)
    record, grid = wired(scenario, monkeypatch)
    mechanism, _ = parts_of(scenario)
    assert record.audit.privacy.sigma == mechanism.sigma
    for sent in grid.sent:
        release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
        raw = mechanism.release.take(sent.raw[None])
        clipped, long, _ = clip_rows(raw, scenario.clip_norm)
        noise = SeededNoise(3).normal(len(release), round=sent.round, client=sent.client)
        expected = (clipped[0] + mechanism.sigma * noise).to(torch.float32)
        # what the client may do to its release: no running variance falls below zero
        place = mechanism.release.put(expected[None], sent.raw[None], sent.state.vector)
        expected = mechanism.release.take(place)[0]
        torch.testing.assert_close(release, expected, rtol=1e-6, atol=1e-7)
        # far from the ball that was clipped to: norm sqrt(C^2 + n sigma^2) within 5 deviations
        size = mechanism.sigma * len(release) ** 0.5
        assert abs(float(release.norm()) - size) < scenario.clip_norm + 5 * mechanism.sigma
        assert bool(long) or name == "localdp, buffers", "else clipping is not seen"


def test_without_noise_only_the_clipped_update_travels(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tiny.but(**MECHANISMS["clip"], rounds=1)
    _, grid = wired(scenario, monkeypatch)
    layout = parts_of(scenario)[1]
    for sent in grid.sent:
        release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
        raw = sent.raw[: layout.num_parameters]
        assert float(raw.norm()) > 0.02
        assert float(release.norm()) == pytest.approx(0.01, rel=1e-5)
        torch.testing.assert_close(release, raw * (0.01 / raw.norm()), rtol=1e-5, atol=1e-9)


def test_noise_of_a_deployed_node_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows the seed, as every server does, takes nothing away: not twice the same, either."""
    scenario = tiny.but(**MECHANISMS["localdp"], rounds=1)
    mechanism, _ = parts_of(scenario)
    seen = []
    for _ in range(2):
        with monkeypatch.context() as patch:
            record, grid = wired(scenario, patch, SYSTEM)
        assert record.audit.privacy.generator == SecureNoise.description
        noises = []
        for sent in grid.sent:
            release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
            clipped, _, _ = clip_rows(mechanism.release.take(sent.raw[None]), scenario.clip_norm)
            noise = (release.to(torch.float64) - clipped[0]) / mechanism.sigma
            seeded = SeededNoise(3).normal(len(noise), round=sent.round, client=sent.client)
            assert float(noise.std()) == pytest.approx(1, abs=5 / (2 * len(noise)) ** 0.5)
            assert abs(float(noise @ seeded)) / len(noise) < 5 / len(noise) ** 0.5
            noises.append(noise)
        seen += noises
    table = torch.stack(seen)
    products = table @ table.T / table.shape[1]
    products.fill_diagonal_(0)
    assert float(products.abs().max()) < 5.5 / table.shape[1] ** 0.5


def test_dpsgd_of_a_deployed_node_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opacus")
    scenario = tiny.but(**MECHANISMS["dpsgd"], rounds=1)
    found = []
    for nodes in (None, None, SYSTEM, SYSTEM):
        with monkeypatch.context() as patch:
            _, grid = wired(scenario, patch, nodes)
        found.append(records(grid.sent[0].data)["arrays"]["arrays/release"])
    assert np.array_equal(found[0], found[1])
    assert not np.isclose(found[0], found[2]).any(axis=0).mean() > 0.1
    assert not np.isclose(found[2], found[3]).any(axis=0).mean() > 0.1


def test_noise_of_a_server_of_real_clients_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """centraldp protects from those who see the global model; clients do, and know the seed."""
    scenario = tiny.but(**MECHANISMS["centraldp"], rounds=1)
    seen = []
    for nodes in (None, None, SYSTEM, SYSTEM):
        with monkeypatch.context() as patch:
            record, _ = wired(scenario, patch, nodes)
        seen.append((record.model_digest, record.audit.privacy.generator))
    assert seen[0] == seen[1]
    assert len({digest for digest, _ in seen}) == 3
    assert [generator for _, generator in seen[1:3]] == [
        SeededNoise.description, SecureNoise.description,
    ]  # fmt: skip


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
