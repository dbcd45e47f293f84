"""Flower's own aggregation of the same updates, as its strategies run it on replies."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


class _Reply:
    """What a strategy's aggregate_train asks of a message."""

    def __init__(self, content: Any) -> None:
        self.content = content

    @staticmethod
    def has_error() -> bool:
        return False


def aggregation(name: str, updates: torch.Tensor) -> Callable[[], Callable[[], Any]]:
    """A function that makes replies of ``updates`` [K, P] and returns the aggregation, to be timed.

    ``name`` is fedcore's; the parameters are those of fedcore's defaults. Raises ImportError where
    flwr is not installed.
    """
    with warnings.catch_warnings():  # of the packages that flwr imports
        warnings.simplefilter("ignore")
        from flwr.app import ArrayRecord, MetricRecord, RecordDict
        from flwr.serverapp import strategy

    clients = len(updates)
    f = (clients - 3) // 2
    made = {
        "median": lambda: strategy.FedMedian(),
        "trimmedmean": lambda: strategy.FedTrimmedAvg(beta=0.2),
        "krum": lambda: strategy.Krum(num_malicious_nodes=f),
        "multikrum": lambda: strategy.MultiKrum(
            num_malicious_nodes=f, num_nodes_to_select=clients - f
        ),
    }[name]()

    def prepare() -> Callable[[], Any]:
        replies = [
            _Reply(
                RecordDict(
                    {
                        "arrays": ArrayRecord([row]),
                        "metrics": MetricRecord({"num-examples": 1}),
                    }
                )
            )
            for row in updates.numpy()
        ]  # anew each time: FedMedian takes the arrays out of them
        return lambda: made.aggregate_train(1, replies)

    return prepare
