"""W1 on ByzFL: its Client, Server and DataDistributor in the FedAvg loop of its documentation.

ByzFL looks a model up by name in its own module, so the CNN is put there. A client takes 8 steps,
which is one epoch: its loader has 8 batches. ByzFL has one process; torch uses all cores.
"""

# ruff: noqa: E402
from __future__ import annotations

from . import w1

w1.declare_torchvision_operators()

import numpy as np
from byzfl import Client, DataDistributor, Server
from byzfl.fed_framework import models
from byzfl.utils.misc import set_random_seed
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    """Train, then print the report."""
    set_random_seed(w1.SEED)
    models.w1_cnn = w1.make_model
    images, labels = w1.data()
    dataset = TensorDataset(images, labels)
    dataset.targets = labels  # DataDistributor reads it
    loader = DataLoader(dataset, batch_size=w1.BATCH, shuffle=True)
    loaders = DataDistributor(
        {
            "data_distribution_name": "iid",
            "nb_honest": w1.CLIENTS,
            "data_loader": loader,
            "batch_size": w1.BATCH,
        }
    ).split_data()
    shared = {
        "model_name": "w1_cnn",
        "device": "cpu",
        "optimizer_name": "SGD",
        "optimizer_params": {"momentum": w1.MOMENTUM},
        "learning_rate": w1.LR,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    own = {
        "loss_name": "CrossEntropyLoss",
        "LabelFlipping": False,
        "nb_labels": w1.CLASSES,
        "momentum": w1.MOMENTUM,
        "store_per_client_metrics": False,
    }
    clients = [Client({**shared, **own, "training_dataloader": part}) for part in loaders]
    average = {"name": "Average", "parameters": {}}
    server = Server(
        {**shared, "test_loader": loader, "aggregator_info": average, "pre_agg_list": []}
    )
    counter, laps = w1.StepCounter(), w1.Laps()
    for client in clients:
        client.set_model_state(server.get_dict_parameters())
    laps.start()
    for _ in range(w1.ROUNDS):
        weights = []
        for chosen in np.random.choice(w1.CLIENTS, w1.COHORT, replace=False):  # noqa: NPY002
            client = clients[chosen]
            client.compute_model_update(len(client.training_dataloader))
            weights.append(client.get_flat_parameters())
        server.update_model_with_weights(weights)
        for client in clients:
            client.set_model_state(server.get_dict_parameters())
        laps()
    w1.report(laps.seconds, counter.steps, w1.digest(server.model))


if __name__ == "__main__":
    main()
