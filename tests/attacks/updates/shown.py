"""What malicious clients are shown in a round that tests make up."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from fedcore.attacks.attack import Seen
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.scenario import Scenario
from fedcore.simulation.assault import trial_step
from fedcore.strategies.aggregation import Aggregation

Rows = list[list[float]]


def shown(
    benign: Any, own: Any = None, *, malicious: int = 1, memory: Memory | None = None,
    others: tuple[int, ...] = (), model: Any = None, seed: int = 0, strategy: Any = None,
    round: int = 1,
) -> Seen:  # fmt: skip
    """``malicious`` clients, who trained ``own`` (default: zeros), and others, who trained
    ``benign``; float64. ``strategy`` are fields of a scenario whose server can be tried.
    """
    width = len(benign[0]) if benign is not None and len(benign) else len(own[0])
    mine = torch.zeros(malicious, width) if own is None else torch.as_tensor(own)
    mine = mine.double()
    rest = None if benign is None else torch.as_tensor(benign).double()
    vector = torch.zeros(width) if model is None else torch.as_tensor(model)
    state = ServerState(vector.double(), torch.zeros(0, dtype=torch.int64))
    size = len(mine) + (0 if rest is None else len(rest))
    server = Aggregation.of(Scenario(**(strategy or {})), 0)
    tried = None
    if strategy is not None:
        assert rest is not None
        ones = (1,) * size
        cohort = Cohort(
            tuple(range(size)), torch.cat((mine, rest)), torch.zeros(size, 0, dtype=torch.int64),
            ones, ones, (None,) * size,
        )  # fmt: skip
        tried = trial_step(server, cohort, state, round, width, set(range(len(mine))))
    return Seen(
        mine, rest, state, server, round, size, torch.Generator().manual_seed(seed),
        memory if memory is not None else Memory(), others, tried,
    )  # fmt: skip


def sent(attack: Any, benign: Any, own: Any = None, **how: Any) -> torch.Tensor:
    """What ``attack`` sends in a round as `shown`."""
    return attack.craft(shown(benign, own, **how))


coordinates = st.integers(-64, 64).map(lambda value: value / 8)


@st.composite
def tables(draw: Any, rows: tuple[int, int] = (3, 6), width: int = 3) -> Rows:
    """Rows of small multiples of 1/8, at least two of which differ."""
    count = draw(st.integers(*rows))
    table = draw(
        st.lists(st.lists(coordinates, min_size=width, max_size=width), min_size=count,
                 max_size=count)
    )  # fmt: skip
    table[0] = [value + 1 + index for index, value in enumerate(table[1])]
    return table
