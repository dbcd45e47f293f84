"""W1 on pfl-research: FederatedAveraging on its SimulatedBackend.

Started by torchrun it uses as many processes as that names, as its documentation recommends; alone
it is one process on all cores. Every process holds the data.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import nn

from . import w1

ORDERS = np.random.default_rng(w1.SEED)


class Classifier(nn.Sequential):
    """The CNN with the two methods that pfl asks for."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor, eval: bool = False) -> torch.Tensor:
        self.eval() if eval else self.train()
        return nn.functional.cross_entropy(self(inputs), targets)

    def metrics(self, *_: object, **__: object) -> dict[str, object]:
        return {}


class Lap(TrainingProcessCallback):
    """Pfl calls it at the end of each central iteration."""

    def __init__(self, laps: w1.Laps) -> None:
        self.laps = laps

    def after_central_iteration(self, *_: object, **__: object) -> tuple[bool, Metrics]:
        self.laps()
        return False, Metrics()


def user(client: int) -> PyTorchTensorDataset:
    """A client's samples in a new order, as pfl itself never shuffles."""
    images, labels = w1.data()
    shard = w1.shards()[client]
    shard = shard[torch.from_numpy(ORDERS.permutation(len(shard)))]
    return PyTorchTensorDataset((images[shard], labels[shard]), user_id=str(client))


def main() -> None:
    """Train, then print the report."""
    np.random.seed(w1.SEED)  # noqa: NPY002 (pfl draws from it)
    torch.manual_seed(w1.SEED)
    net = Classifier(*w1.make_model())
    model = PyTorchModel(
        net,
        functools.partial(torch.optim.SGD, momentum=w1.MOMENTUM),
        torch.optim.SGD(net.parameters(), lr=1.0),
    )
    w1.data()
    users = FederatedDataset(user, get_user_sampler("minimize_reuse", list(range(w1.CLIENTS))))
    backend = SimulatedBackend(users, users, postprocessors=[WeightByDatapoints()])
    counter, laps = w1.StepCounter(), w1.Laps()
    laps.start()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=w1.ROUNDS,
            evaluation_frequency=w1.ROUNDS + 1,  # round 1 only, where `metrics` does nothing
            train_cohort_size=w1.COHORT,
            val_cohort_size=0,
        ),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=w1.BATCH, local_num_epochs=1, local_learning_rate=w1.LR
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[Lap(laps)],
    )
    central = w1.ROUNDS  # steps of the central optimizer, in every process
    steps = torch.tensor(counter.steps - central)
    first = True
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(steps)
        first = torch.distributed.get_rank() == 0
    if first:
        w1.report(laps.seconds, int(steps), w1.digest(net))


if __name__ == "__main__":
    main()
