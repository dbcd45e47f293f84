"""A cohort from plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from fedcore.exchange.cohort import Cohort


def make_cohort(
    updates: torch.Tensor | Sequence[Sequence[float]],
    *,
    samples: Sequence[int] | None = None,
    normalizers: Sequence[float | None] | None = None,
    counters: Sequence[Sequence[int]] | None = None,
) -> Cohort:
    """A cohort of rows; equal samples and no normalizers unless given. float64 from lists.

    The server's own update, for rules that have one, is the mean of the rows.
    """
    rows = torch.as_tensor(updates, dtype=None if torch.is_tensor(updates) else torch.float64)
    size = len(rows)
    return Cohort(
        clients=tuple(range(size)),
        updates=rows,
        counters=torch.tensor(counters or [[]] * size, dtype=torch.int64),
        samples=tuple(samples or [1] * size),
        steps=tuple(int(a or 1) for a in normalizers or [1] * size),
        normalizers=tuple(normalizers or [None] * size),
        root=rows.mean(dim=0),
    )


@pytest.fixture(scope="session")
def cohort() -> Callable[..., Cohort]:
    return make_cohort
