"""Buffer rules: numbers by hand, and what fewer than half of the clients can do to them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.buffers import BUFFER_RULES
from fedcore.strategies.robust.median import Median
from fedcore.strategies.robust.rfa import RFA
from fedcore.strategies.strategy import STRATEGIES, Strategy


def sent(buffers: list[float], counters: list[int], samples: tuple[int, ...]) -> Cohort:
    """Clients that leave the one parameter, and send these changes of one float buffer."""
    size = len(buffers)
    return Cohort(
        clients=tuple(range(size)),
        updates=torch.tensor([[0.0, value] for value in buffers]),
        counters=torch.tensor(counters)[:, None],
        samples=samples,
        steps=(1,) * size,
        normalizers=(1.0,) * size,
    )


def after(strategy: Strategy, cohort: Cohort) -> tuple[float, int]:
    """The buffer, which begins at 10, and the counter."""
    state = ServerState(torch.tensor([0.0, 10.0]), torch.tensor([0]))
    made = strategy.aggregate(state, cohort, 1)
    return float(made.vector[1]), int(made.counters[0])


def test_numbers_by_hand() -> None:
    cohort = sent([1.0, 2.0, 4.0, 9.0], [5, 8, 6, 7], (10, 20, 30, 40))
    assert after(FedAvg(), cohort) == (pytest.approx(10 + 0.1 + 0.4 + 1.2 + 3.6), 8)
    assert after(Median(), cohort) == (13.0, 6)
    odd = sent([1.0, 2.0, 9.0], [5, 8, 6], (10, 20, 30))
    assert after(RFA(), odd) == (12.0, 6)


@pytest.mark.parametrize("value", [1e30, -1e30, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"flower"}))
def test_one_of_ten(name: str, value: float) -> None:
    """Under a robust rule the buffer stays among the honest ones; the others say that it may go."""
    buffers = BUFFER_RULES[STRATEGIES[name].buffer_rule]
    rows = torch.tensor([[float(i)] for i in range(9)] + [[value]])
    weights = torch.full((10,), 0.1, dtype=torch.float64)
    inside = 0 <= float(buffers.floats(rows, weights)[0]) <= 8
    assert inside is buffers.protects
    assert buffers.protects is ("robust" in STRATEGIES[name].__module__)


@given(
    honest=st.lists(st.integers(-1000, 1000), min_size=3, max_size=12),
    lies=st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38]), max_size=11),
)
def test_fewer_than_half_cannot_leave_the_honest_range(
    honest: list[int], lies: list[float]
) -> None:
    lies = lies[: len(honest) - 1]
    rows = torch.tensor([[float(v)] for v in honest] + [[v] for v in lies])
    rule = BUFFER_RULES["median"]
    assert min(honest) <= float(rule.floats(rows, torch.ones(len(rows)))[0]) <= max(honest)
    counts = torch.tensor([[v] for v in honest] + [[2**62]] * len(lies))
    assert min(honest) <= int(rule.counts(counts)[0]) <= max(honest)


def test_a_rule_that_nobody_knows() -> None:
    class Own(FedAvg):
        buffer_rule = "medain"

    with pytest.raises(FedcoreError, match=r"unknown buffer_rule of Own 'medain'.*median"):
        after(Own(), sent([1.0], [1], (1,)))
