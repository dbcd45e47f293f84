"""What each pre-aggregation must make of rows, written a second time, for the identity check.

It shares no code with the pre-aggregations, so that a bug in these cannot hide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fedcore.strategies.definitions import Floats


@dataclass(frozen=True)
class MixView:
    """One link of a chain in one round, at ``s`` of its coordinates.

    ``link`` is the pre-aggregation, ``rows`` [K, s] what it was given, ``made`` [R, s] what it made
    of it; ``samples``, ``steps`` and ``normalizers`` belong to the K rows. ``generator`` is a fresh
    one of the round and the place in the chain. ``mixing`` is what the link says of its rows (see
    `Cohort`), ``distance`` the Euclidean distance of two whole rows, or of one from 0 (None), inf
    where it is not finite; ``drawn`` is one of the K rows.
    """

    link: Any
    rows: Floats
    made: Floats
    samples: tuple[int, ...]
    steps: tuple[int, ...]
    generator: torch.Generator
    normalizers: tuple[float | None, ...] = ()
    mixing: Floats | None = None
    distance: Callable[[int, int | None], float] = lambda row, other: np.nan
    drawn: int = 0


@dataclass(frozen=True)
class Mixed:
    """What a mix must be: row r is sum_i ``matrix``[r, i] times row i, with these facts.

    ``problem`` says what is wrong whatever the rows are; None where nothing is.
    """

    matrix: Floats
    samples: tuple[int, ...]
    steps: tuple[int, ...]
    normalizers: tuple[float | None, ...]
    problem: str | None = None


@dataclass(frozen=True)
class MixDefinition:
    """``what`` the rows are, in words that follow "does not make", and the ``function``."""

    what: str
    function: Callable[[MixView], Mixed]


def _bucketing(view: MixView) -> Mixed:
    clients, size = len(view.rows), view.link.size
    count = (clients + size - 1) // size
    member = np.zeros((count, clients))
    order = torch.randperm(clients, generator=view.generator).numpy()
    member[np.arange(clients) // size, order] = 1.0
    samples = member @ np.asarray(view.samples, dtype=np.float64)
    steps = member @ np.asarray(view.steps, dtype=np.float64)
    return Mixed(
        member / member.sum(axis=1, keepdims=True),
        tuple(int(value) for value in samples),
        tuple(int(value) for value in steps),
        (None,) * count,
    )


BUCKETING = MixDefinition("the means of its round's random buckets", _bucketing)
