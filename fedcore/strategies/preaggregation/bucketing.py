"""Bucketing: means of a few random updates each, so that clients look more alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort
from fedcore.strategies.preaggregation.definitions import BUCKETING
from fedcore.strategies.preaggregation.preaggregation import PREAGGREGATIONS, PreAggregation
from fedcore.strategies.strategy import combine_some

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@PREAGGREGATIONS.register("bucketing", "means of random buckets (Karimireddy et al. 2022)")
class Bucketing(PreAggregation):
    """y_b = mean of the updates in bucket b; buckets are ``size`` neighbours in a random order.

    There are ceil(K / size) buckets, in a new order every round. The last one is smaller where
    ``size`` does not divide K; its mean is over its own updates. Means are unweighted, as in the
    paper; a bucket has the samples and steps of its clients together. f malicious clients spoil f
    buckets at most, so that a rule behind it must withstand up to ``size`` times their share.
    Source: Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via
    Bucketing", ICLR 2022, algorithm 1.
    """

    definition = BUCKETING
    size: int = param("updates in a bucket", default=2, low=2)

    def rows(self, clients: int) -> int:
        return -(-clients // self.size)

    def problems(self, scenario: Scenario) -> list[str]:
        if scenario.rows > 1 or scenario.cohort_size <= 1:
            return []
        return [
            f"preaggregation {str(self)!r} leaves one row of a cohort of {scenario.cohort_size}, "
            "which no strategy can compare with others: lower size, or enlarge the cohort "
            "(fraction_train * num_clients)"
        ]

    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        order = torch.randperm(len(updates), generator=generator).tolist()
        starts = range(0, len(order), self.size)
        buckets = [order[start : start + self.size] for start in starts]
        rows = updates.new_zeros(len(buckets), updates.shape[1])
        for row, bucket in zip(rows, buckets, strict=True):
            combine_some(updates, bucket, _shares(bucket), out=row)
        return rows, dataclasses.replace(
            cohort,
            clients=tuple(range(len(buckets))),
            samples=tuple(sum(cohort.samples[i] for i in bucket) for bucket in buckets),
            steps=tuple(sum(cohort.steps[i] for i in bucket) for bucket in buckets),
            normalizers=(None,) * len(buckets),
        )


def _shares(bucket: Sequence[int]) -> torch.Tensor:
    return torch.full((len(bucket),), 1 / len(bucket), dtype=torch.float64)
