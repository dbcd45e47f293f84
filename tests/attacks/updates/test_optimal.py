"""Strengths searched on the defence: no other of the grid does more harm."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fedcore.attacks.optimal import geometric
from fedcore.attacks.updates.optimalalie import OptimalAlie
from fedcore.attacks.updates.optimalipm import OptimalIpm
from fedcore.errors import ScenarioError
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.scenario import Scenario
from fedcore.simulation.assault import trial_step
from fedcore.simulation.runner import run
from fedcore.strategies.aggregation import Aggregation
from fedcore.testing.runs import proof_problems
from tests.attacks.updates.shown import shown

BENIGN = torch.randn(7, 40, generator=torch.Generator().manual_seed(3)).double() + 0.5
SERVERS: list[dict[str, Any]] = [
    {"strategy": "fedavg"},
    {"strategy": "median"},
    {"strategy": "krum"},
    {"strategy": "trimmedmean", "trim_fraction": 0.3},
    {"strategy": "median", "preaggregation": "bucketing"},
]


@pytest.mark.parametrize("server", SERVERS, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("attack", [OptimalAlie(), OptimalIpm()], ids=str)
def test_no_strength_of_the_grid_moves_the_step_further(attack: Any, server: Any) -> None:
    seen = shown(BENIGN, malicious=3, strategy=server)
    start, slope = attack.line(BENIGN)
    assert seen.tried is not None

    def moved(row: torch.Tensor) -> float:
        assert seen.tried is not None
        return float((seen.tried(row.expand(3, -1)) - BENIGN.mean(dim=0)).norm())

    row = attack.craft(seen)[0]
    strength = float((row - start) @ slope / (slope @ slope))
    assert torch.allclose(row, start + strength * slope)
    grid = geometric(*attack.ends, attack.tries)
    most = max(moved(start + x * slope) for x in grid)
    assert moved(row) >= most * (1 - 1e-12)
    if server["strategy"] == "fedavg":
        assert strength == pytest.approx(
            attack.greatest_strength
        )  # an average is moved without limit
    if server["strategy"] == "krum":
        assert moved(row) > moved(
            start + attack.greatest_strength * slope
        )  # a longer one is not taken


def test_a_rule_that_nothing_moves_gets_the_least() -> None:
    """Nothing that is sent is taken: all strengths are alike, and the least is sent."""
    rows = torch.zeros(6, 4).double()
    rows[:, 0] = 1 + 1e-9 * torch.arange(6)
    seen = shown(rows, malicious=1, strategy={"strategy": "krum"})
    row = OptimalIpm(least_strength=0.5).craft(seen)
    assert torch.allclose(row[0], -0.5 * rows.mean(dim=0))


def test_the_servers_memory_is_not_written_to() -> None:
    seen = shown(BENIGN, malicious=2, strategy={"strategy": "fedavgm", "server_momentum": 0.9})
    OptimalAlie().craft(seen)
    assert seen.tried is not None
    once = seen.tried(torch.zeros(2, 40).double())
    assert torch.equal(once, seen.tried(torch.zeros(2, 40).double()))


def test_what_was_chosen_is_noted() -> None:
    memory = Memory()
    seen = shown(BENIGN, malicious=3, strategy={"strategy": "fedavg"}, memory=memory)
    OptimalAlie(greatest_strength=4.0).craft(seen)
    (text,) = OptimalAlie(greatest_strength=4.0).remarks(memory)
    assert "chose strengths 4 to 4, 4 on average, over 1 attacked rounds" in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"attack": "optimalalie(least_strength=3, greatest_strength=2)"},
            "needs least_strength < greatest_strength, got 3 and 2",
        ),
        ({"strategy": "flower", "strategy_spec": "flwr.serverapp.strategy:FedAvg"},
         "aggregates whole replies of Flower"),
    ],
)  # fmt: skip
def test_scenarios_that_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(**{"attack": "optimalipm", "malicious_fraction": 0.3, **fields})


def test_it_knows_the_draws_of_the_round() -> None:
    """Bucketing's order is that of the round, as `Aggregation` draws it again."""
    scenario = Scenario(
        dataset="synthetic:160", model="mlp", num_clients=6, fraction_train=1.0, rounds=2,
        strategy="median", preaggregation="bucketing", attack="optimalalie",
        malicious_fraction=0.34,
    )  # fmt: skip
    assert list(proof_problems(run(scenario, 0, device="cpu"))) == []


@pytest.mark.parametrize("server", SERVERS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_the_step_that_is_tried_is_the_one_that_is_made(server: Any) -> None:
    size, width = 7, 5
    cohort = Cohort(
        tuple(range(size)), torch.randn(size, width + 2, dtype=torch.float64),
        torch.ones(size, 3, dtype=torch.int64), tuple(range(1, size + 1)), (2,) * size,
        (2.0,) * size,
    )  # fmt: skip
    aggregation = Aggregation.of(Scenario(**server), 5)
    state = ServerState(torch.randn(width + 2).double(), torch.zeros(3, dtype=torch.int64))
    tried = trial_step(aggregation, cohort, state, 4, width, {2, 6})
    kept = cohort.updates.clone()
    for _ in range(2):  # two buffers lie behind the parameters
        rows = torch.randn(2, width, dtype=torch.float64)
        updates = cohort.updates.clone()
        updates[[2, 6], :width] = rows
        made = aggregation.aggregate(state, dataclasses.replace(cohort, updates=updates), width, 4)
        expected = (made.vector - state.vector)[:width]
        assert torch.equal(tried(rows), expected)
        state.memory.clear()
    assert torch.equal(cohort.updates, kept)
