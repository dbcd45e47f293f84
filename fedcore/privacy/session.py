"""What a mechanism knows and keeps of one run, and what its parameters must fulfil."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from fedcore.privacy.noise import Generators, NoiseSource
from fedcore.privacy.release import Release

if TYPE_CHECKING:
    from fedcore.exchange.layout import Layout
    from fedcore.scenario import Scenario

#: Totals that equal the budget up to rounding are within it.
SLACK: Final = 1e-9


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a mechanism knows of a run: ``samples`` and ``steps`` a round are per client."""

    seed: int
    layout: Layout
    samples: tuple[int, ...]
    steps: tuple[int, ...]


@dataclasses.dataclass
class MechanismRun:
    """What serves one run of a mechanism; ``costs`` and ``releases`` are per client.

    ``clients`` is what the clients of a network draw from; None where `Mechanism.privatise` stands
    for them. ``stopped`` is the round before which the budget ends the run.
    """

    scenario: Scenario
    facts: Facts
    noise: NoiseSource
    release: Release
    costs: list[float]
    releases: list[int]
    clients: Generators | None = None
    stopped: int | None = None
    clipped: int = 0
    broken: int = 0


def budget_problems(budget: float | None, epsilon: float | None) -> list[str]:
    """A budget that the first release exceeds."""
    if budget is None or epsilon is None or budget * (1 + SLACK) >= epsilon:
        return []
    return [
        f"epsilon_budget={budget:g} is less than the epsilon {epsilon:.4g} of a single release: "
        "raise it, or lower epsilon"
    ]


def buffer_problems(scenario: Scenario, buffers: str) -> list[str]:
    """Batch normalisation whose server would score with statistics that nobody computed."""
    if scenario.norm == "batch" and buffers == "local" and scenario.weights is None:
        return [
            "buffers='local' leaves the server without running statistics to score "
            "norm='batch' with: set buffers='frozen' or 'released', give weights, or set "
            "norm='group'"
        ]
    return []
