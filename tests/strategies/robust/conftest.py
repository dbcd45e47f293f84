"""Steps that are made as in a run: by the server, under the identity check."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fedcore.exchange.cohort import Memory, ServerState
from fedcore.scenario import Scenario
from fedcore.simulation.identity import IdentityCheck
from fedcore.strategies.aggregation import Aggregation
from tests.strategies.conftest import make_cohort

Held = Callable[..., tuple[torch.Tensor, Memory]]


def held_step(
    scenario: Scenario,
    rows: torch.Tensor | list[list[float]],
    *,
    samples: list[int] | None = None,
    seed: int = 0,
    rounds: int = 1,
) -> tuple[torch.Tensor, Memory]:
    """The last of ``rounds`` steps on ``rows``, and the server's memory; IdentityError if wrong.

    The model stands at zero before each round.
    """
    cohort = make_cohort(rows, samples=samples)
    server = Aggregation.of(scenario, seed)
    check = IdentityCheck(server, scenario)
    size, memory = cohort.updates.shape[1], Memory()
    step = torch.zeros(size, dtype=cohort.updates.dtype)
    for round in range(1, rounds + 1):
        state = ServerState(torch.zeros_like(step), torch.empty(0, dtype=torch.int64), memory)
        check._left = None  # the model goes back to zero
        check.before(state, cohort, size, round)
        after = server.aggregate(state, cohort, size, round)
        step = after.vector
        if bool(step.isfinite().all()):
            check.after(after)
    check.verdict()
    return step, memory


@pytest.fixture(scope="session")
def held() -> Held:
    return held_step
