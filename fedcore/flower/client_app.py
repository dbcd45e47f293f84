"""The ClientApp: a SuperNode's client trains on its own partition, whatever the grid.

Where the scenario has a privacy mechanism, its clients' half runs here, and the reply holds the
release in the place of the model: nothing else of what was trained leaves the node.
"""

from __future__ import annotations

import functools

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import ServerState
from fedcore.flower import notes
from fedcore.flower.arrays import from_arrays, to_arrays
from fedcore.flower.consent import Terms
from fedcore.flower.foreign import mods, seeded
from fedcore.flower.nodes import held
from fedcore.flower.releases import draws_secretly, to_release
from fedcore.flower.task import Task, Workshop
from fedcore.streams import Purpose, torch_seed

MEMORY = "fedcore"
"""Prefix of the keys of what clients keep between rounds (FedBN's layers) in a node's state."""


def who(message: Message, context: Context) -> Message:
    """Answer which partition this node holds, of how many."""
    names = ("partition-id", "num-partitions")
    said = {name: int(context.node_config[name]) for name in names if name in context.node_config}
    return Message(RecordDict({"metrics": MetricRecord(said)}), reply_to=message)


def train(message: Message, context: Context) -> Message:
    """Train, with the scenario's mods around it.

    What mods draw is seeded by round and client; on a node that draws secretly, by the system.
    """
    task = Task.of(message, context)
    Terms.of(context).accept(task.scenario.privacy)
    call = functools.partial(local_training, task)
    if task.scenario.client_mods is None:
        return call(message, context)
    for mod in reversed(mods(task.scenario.client_mods)):
        call = functools.partial(mod, call_next=call)
    (config,) = message.content.config_records.values()
    round, client = int(config["server-round"]), int(config.get("client", 0))
    seed: int | None = torch_seed(task.seed, Purpose.PRIVACY_NOISE, round=round, client=client)
    with seeded(None if draws_secretly(context.node_config) else seed):
        return call(message, context)


def local_training(task: Task, message: Message, context: Context) -> Message:
    """Train a client of this node from the arrays of ``message``; send its model or release back.

    The config names the ``server-round``, and the ``client`` where the node holds several. The
    metrics are ``num-examples``, ``client``, ``steps``, ``normalizer`` where the solver has one,
    and of private clients ``secret-noise``: 1 if they draw from the system. What a client keeps
    between rounds stays in ``context.state``. PrivacyError where the node's own config forbids
    the task. Where the config asks for it the reply says what the client trained on
    (`fedcore.flower.notes`).
    """
    own = held(context.node_config, task.scenario.num_clients)
    (config,) = message.content.config_records.values()
    (arrays,) = message.content.array_records.values()
    client = int(config.get("client", own[0]))
    if client not in own:
        raise FedcoreError(f"this node holds clients {own}, was asked for {client}")
    secret = draws_secretly(context.node_config)
    workshop = Workshop.of(task)
    workshop.require_same(task)
    engine, mechanism = workshop.engine, workshop.mechanism(secret)
    prefix = f"{MEMORY}.{task.run}."
    for old in [key for key in context.state if not key.startswith(prefix)]:
        if old.startswith(f"{MEMORY}."):  # of an earlier run on the same node
            del context.state[old]
    key = f"{prefix}{client}"
    if mechanism is not None:
        Terms.of(context).admit(mechanism, context, client)
    with task.execution.arithmetic():
        like = engine.trained_model()[0]
        state = ServerState(*from_arrays(engine.layout, arrays, like))
        engine.set_own_layers(client, _kept(context, key))
        round = int(config["server-round"])
        cohort = engine.train(state, round, (client,))
        layers = engine.own_layers(client)
        if layers is not None:
            context.state[key] = ArrayRecord({"layers": Array(layers.cpu().numpy())})
        if mechanism is None:
            arrays = to_arrays(engine.layout, *engine.trained_model())
        else:
            arrays = to_release(mechanism.run.release, mechanism.at_client(state, cohort, round))
    facts: dict[str, int | float] = {
        "num-examples": cohort.samples[0],
        "client": client,
        "steps": cohort.steps[0],
    }
    normalizer = cohort.normalizers[0]
    if normalizer is not None:
        facts["normalizer"] = normalizer
    if mechanism is not None:
        facts["secret-noise"] = int(secret)
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord(facts)})
    notes.leave(workshop, round, client, cohort, config, content)
    return Message(content, reply_to=message)


def _kept(context: Context, key: str) -> torch.Tensor | None:
    record = context.state.array_records.get(key)
    return None if record is None else torch.from_numpy(record["layers"].numpy().copy())


app = ClientApp()
app.query()(who)
app.train()(train)
