"""A grid that is tapped: the bytes of every reply beside what its client had trained."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import torch
from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as Wire  # type: ignore[attr-defined]

from fedcore.engine.sequential import SequentialEngine
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.client_app import app
from fedcore.flower.local import LocalGrid
from fedcore.flower.server_app import run_on
from fedcore.flower.task import Task, Workshop
from fedcore.privacy.mechanism import Facts
from fedcore.records.record import Record
from fedcore.scenario import Scenario

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
    return scenario.parts.privacy.over(scenario, facts), engine.layout
