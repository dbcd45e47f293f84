"""A cohort that is nothing but its updates, for timing and comparing aggregation."""

from __future__ import annotations

import torch

from fedcore.exchange.cohort import Cohort


def cohort_of(updates: torch.Tensor) -> Cohort:
    """Clients of one sample and one local step each, with ``updates`` [K, P] and no buffers.

    Where the server trains, too, its update is their mean.
    """
    clients = len(updates)
    ones, counters = (1,) * clients, torch.empty(clients, 0, dtype=torch.int64)
    who, normalizers, mean = tuple(range(clients)), (None,) * clients, updates.mean(dim=0)
    return Cohort(who, updates, counters, ones, ones, normalizers, root=mean)
