"""What the tests of Flower share. Telemetry and update checks are off; nothing leaves loopback."""

from __future__ import annotations

import os

import pytest

from fedcore.scenario import Scenario

os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    RAY_USAGE_STATS_ENABLED="0",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
)

TINY = Scenario(
    dataset="synthetic:300",
    model="cnn",
    norm="batch",
    num_clients=6,
    fraction_train=1.0,
    rounds=3,
    local_epochs=(1, 3),
    optimizer="sgd",
    lr=0.1,
)


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    """Six clients of unequal work on a CNN with BatchNorm: parameters, buffers and counters."""
    return TINY
