"""Bucketing: means of a few random updates each, so that clients look more alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fedcore.exchange.cohort import Cohort
from fedcore.strategies.preaggregation.definitions import BUCKETING
from fedcore.strategies.preaggregation.preaggregation import PREAGGREGATIONS, PreAggregation
from fedcore.strategies.strategy import combine_some

if TYPE_CHECKING:
    pass


@PREAGGREGATIONS.register("bucketing", "means of random buckets (Karimireddy et al. 2022)", size=2)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bucketing(PreAggregation):
    """y_b = mean of the updates in bucket b; buckets are ``size`` neighbours in a random order.

    There are ceil(K / size) buckets, in a new order every round. The last one is smaller where
    ``size`` does not divide K, and its mean is over its own updates: the paper writes 1 / size,
    which would shorten it. Means are unweighted, as in the paper; a bucket has the samples of its
    clients together. f malicious clients spoil at most f buckets of ceil(K / size), so that a rule
    behind it must withstand ``size`` times their share.
    Source: Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via
    Bucketing", ICLR 2022, algorithm 1.
    """

    definition = BUCKETING
    size: int = 2

    def rows(self, clients: int) -> int:
        return -(-clients // self.size)

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
