"""W1 on fluke: FedAVG from its Python interface, data given as tensors, evaluation switched off."""

# ruff: noqa: E402
from __future__ import annotations

from . import w1

w1.declare_torchvision_operators()

from fluke import DDict, FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.data import DataContainer, DataSplitter
from fluke.utils import FederationObserver


class Lap(FederationObserver):
    """Fluke calls it at the end of each round."""

    def __init__(self, laps: w1.Laps) -> None:
        self.laps = laps

    def end_round(self, round: int) -> None:
        self.laps()


def main() -> None:
    """Train, then print the report."""
    environment = FlukeENV()
    environment.set_seed(w1.SEED)
    environment.set_device("cpu")
    environment.set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    images, labels = w1.data()
    # fluke wants a test set; nothing reads it
    container = DataContainer(images, labels, images[:1], labels[:1], w1.CLASSES)
    solver = {"name": "SGD", "lr": w1.LR, "momentum": w1.MOMENTUM}
    client = {
        "batch_size": w1.BATCH,
        "local_epochs": 1,
        "loss": "CrossEntropyLoss",
        "optimizer": solver,
        "scheduler": {"name": "StepLR", "gamma": 1, "step_size": 1},
    }
    settings = DDict(model=w1.make_model(), client=client, server={"weighted": True})
    federation = FedAVG(w1.CLIENTS, DataSplitter(container, distribution="iid"), settings)
    counter, laps = w1.StepCounter(), w1.Laps()
    federation.set_callbacks(Lap(laps))
    laps.start()
    federation.run(w1.ROUNDS, w1.COHORT / w1.CLIENTS)
    w1.report(laps.seconds, counter.steps, w1.digest(federation.server.model))


if __name__ == "__main__":
    main()
