"""A cohort that is nothing but its updates, for timing and comparing aggregation."""

from __future__ import annotations

import torch

from fedcore.exchange.cohort import Cohort


def cohort_of(updates: torch.Tensor) -> Cohort:
    """Clients of one sample and one local step each, with ``updates`` [K, P] and no buffers."""
    clients = len(updates)
    ones, counters = (1,) * clients, torch.empty(clients, 0, dtype=torch.int64)
    return Cohort(tuple(range(clients)), updates, counters, ones, ones, (None,) * clients)
