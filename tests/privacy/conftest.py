"""Cohorts and mechanisms without a run: what every test of a mechanism needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.privacy.mechanism import Facts, Mechanism
from fedcore.scenario import Scenario


@pytest.fixture
def mechanism_for() -> Callable[..., Mechanism]:
    def make(
        layout: Layout,
        *,
        clients: int = 4,
        seed: int = 0,
        samples: tuple[int, ...] | None = None,
        steps: int = 3,
        noise: Any = None,
        **fields: Any,
    ) -> Mechanism:
        scenario = Scenario(num_clients=clients, fraction_train=1.0, **fields)
        samples = samples or (10,) * clients
        facts = Facts(seed, layout, samples, (steps,) * clients)
        return scenario.parts.privacy.over(scenario, facts, noise)

    return make


@pytest.fixture
def linear() -> Layout:
    """15 parameters: weight [3, 3] and bias of a body, weight [1, 3] of a head."""
    return Layout.of(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)))


@pytest.fixture
def normed() -> Layout:
    """A model with BatchNorm: 13 parameters, 4 float buffers, 1 counter."""
    return Layout.of(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)))


def zero_state(layout: Layout) -> ServerState:
    counters = torch.zeros(layout.num_counters, dtype=torch.int64)
    return ServerState(torch.zeros(layout.size), counters)


def cohort_of(updates: torch.Tensor, counters: torch.Tensor | None = None, **facts: Any) -> Cohort:
    size = len(updates)
    if counters is None:
        counters = torch.zeros(size, 0, dtype=torch.int64)
    return Cohort(
        clients=facts.get("clients", tuple(range(size))),
        updates=updates,
        counters=counters,
        samples=facts.get("samples", (10,) * size),
        steps=(3,) * size,
        normalizers=(3.0,) * size,
    )


class Silence:
    """A source of noise that is none, to see what comes before the noise."""

    description = "none"

    def normal(self, size: int, *, round: int, client: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64)
