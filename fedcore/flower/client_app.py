"""The ClientApp: a SuperNode's client trains on its own partition, whatever the grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedcore.execution import exact_arithmetic
from fedcore.flower.arrays import from_arrays, to_arrays
from fedcore.flower.task import Task, Workshop
from fedcore.strategies.base import ServerState

MEMORY = "fedcore"
"""Key of what a client keeps between rounds (FedBN's layers) in its context's state."""

Mod = Callable[..., Message]


def who(message: Message, context: Context) -> Message:
    """Answer which client this node is: its ``partition-id``."""
    client = MetricRecord({"client": int(context.node_config["partition-id"])})
    return Message(RecordDict({"metrics": client}), reply_to=message)


def train(message: Message, context: Context) -> Message:
    """Train this node's client from the arrays of ``message`` and send its model back.

    The metrics are ``num-examples``, ``client``, ``steps``, and ``normalizer`` where the solver
    has one. What the client keeps between rounds stays in ``context.state``.
    """
    engine = Workshop.of(Task.of(message, context)).engine
    client = int(context.node_config["partition-id"])
    (config,) = message.content.config_records.values()
    (arrays,) = message.content.array_records.values()
    with exact_arithmetic(engine.device):
        like = engine.trained_model()[0]
        state = ServerState(*from_arrays(engine.layout, arrays, like))
        engine.set_own_layers(client, _kept(context))
        cohort = engine.train(state, int(config["server-round"]), (client,))
        layers = engine.own_layers(client)
        if layers is not None:
            kept = ArrayRecord({"layers": Array(layers.cpu().numpy())})
            context.state.array_records[MEMORY] = kept
        model = to_arrays(engine.layout, *engine.trained_model())
    facts: dict[str, int | float] = {
        "num-examples": cohort.samples[0],
        "client": client,
        "steps": cohort.steps[0],
    }
    normalizer = cohort.normalizers[0]
    if normalizer is not None:
        facts["normalizer"] = normalizer
    content = RecordDict({"arrays": model, "metrics": MetricRecord(facts)})
    return Message(content, reply_to=message)


def _kept(context: Context) -> torch.Tensor | None:
    record = context.state.array_records.get(MEMORY)
    return None if record is None else torch.from_numpy(record["layers"].numpy().copy())


def make_app(mods: Sequence[Mod] = ()) -> ClientApp:
    """The ClientApp, with ``mods`` around its training: Flower's own, or any others."""
    made = ClientApp()
    made.query()(who)
    made.train(mods=list(mods))(train)
    return made


app = make_app()
