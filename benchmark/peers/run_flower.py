"""W1 on Flower: a ServerApp with the stock FedAvg and a ClientApp, on the Ray simulation engine.

`run_simulation` rather than `flwr run`, which adds a daemon that outlives the run. A client gets
one CPU, so that two of them train at a time. The training loop is the user's in Flower: it is that
of the bare loop, with the data in memory.
"""

from __future__ import annotations

import functools
import random

import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from . import w1

client_app = ClientApp()
server_app = ServerApp()


@functools.cache
def prepared() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """Model and data of this worker."""
    torch.manual_seed(w1.SEED)
    images, labels = w1.data()
    model = w1.make_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, images.contiguous(memory_format=torch.channels_last), labels


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One local epoch."""
    model, images, labels = prepared()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=w1.LR, momentum=w1.MOMENTUM)
    shard = w1.shards()[int(context.node_config["partition-id"])]
    shard = shard[torch.randperm(len(shard))]
    steps = 0
    for start in range(0, len(shard), w1.BATCH):
        chosen = shard[start : start + w1.BATCH]
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        steps += 1
    metrics = MetricRecord({"num-examples": len(shard), "steps": steps})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """The federation; `evaluate_fn` is where FedAvg calls back after each round."""
    random.seed(w1.SEED)
    torch.manual_seed(w1.SEED)
    laps = w1.Laps()
    steps = 0

    def after(server_round: int, arrays: ArrayRecord) -> None:
        laps() if server_round else laps.start()

    def add_up(replies: list[RecordDict], _: str) -> MetricRecord:
        nonlocal steps
        steps += sum(int(reply["metrics"]["steps"]) for reply in replies)
        return MetricRecord()

    strategy = FedAvg(
        fraction_train=w1.COHORT / w1.CLIENTS,
        fraction_evaluate=0.0,
        min_train_nodes=w1.COHORT,
        min_available_nodes=w1.CLIENTS,
        train_metrics_aggr_fn=add_up,
    )
    model = w1.make_model()
    result = strategy.start(
        grid, ArrayRecord(model.state_dict()), num_rounds=w1.ROUNDS, evaluate_fn=after
    )
    model.load_state_dict(result.arrays.to_torch_state_dict())
    w1.report(laps.seconds, steps, w1.digest(model))


def simulate() -> None:
    """Run the federation."""
    run_simulation(
        server_app,
        client_app,
        num_supernodes=w1.CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


if __name__ == "__main__":
    # by its name: Ray's workers import the module, and their __main__ is another
    from . import run_flower

    run_flower.simulate()
