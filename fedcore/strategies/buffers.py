"""What becomes of the float buffers and integer buffers of a cohort: a rule that a strategy names.

A client that trains honestly and lies about BatchNorm's running statistics passes every rule over
parameters, as these look at parameters alone. So buffers have a rule of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from fedcore.errors import FedcoreError, unknown_name
from fedcore.strategies.order_statistics import middle_mean

Floats = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Counts = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class BufferRule:
    """``floats`` of rows [K, B] and weights [K] gives [B], ``counts`` of rows [K, I] int64 [I].

    ``what`` says it in words, ``protects`` whether fewer than half of the clients cannot move a
    buffer out of the range of the others.
    """

    floats: Floats
    counts: Counts
    what: str
    protects: bool


def weighted_mean(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """sum_i p_i rows_i, [B]."""
    return weights.to(rows) @ rows


def median(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The unweighted median of every coordinate, of an even K the mean of the middle two, [B].

    A NaN counts as plus infinity. Yin et al., "Byzantine-Robust Distributed Learning", 2018.
    """
    return middle_mean(rows, (len(rows) - 1) // 2)


def greatest(counts: torch.Tensor) -> torch.Tensor:
    """The maximum of every integer buffer, [I]."""
    return counts.amax(dim=0)


def lower_median(counts: torch.Tensor) -> torch.Tensor:
    """The median of every integer buffer, of an even K the lower of the middle two, [I]."""
    return counts.sort(dim=0).values[(len(counts) - 1) // 2]


BUFFER_RULES: Final = {
    "mean": BufferRule(
        weighted_mean,
        greatest,
        "mean weighted by samples, integers by maximum: one client can take them over",
        False,
    ),
    "median": BufferRule(
        median,
        lower_median,
        "median of the clients', integers too: fewer than half cannot take them over",
        True,
    ),
}


def rule_of(owner: object) -> BufferRule:
    """The rule named by ``buffer_rule`` of ``owner``, a strategy or its class. FedcoreError."""
    name = getattr(owner, "buffer_rule", None)
    if name not in BUFFER_RULES:
        cls = owner if isinstance(owner, type) else type(owner)
        kind = f"buffer_rule of {cls.__name__}"
        raise FedcoreError(unknown_name(kind, name, BUFFER_RULES))
    return BUFFER_RULES[name]
