"""What an engine does: train a cohort from a global model, and score a global model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fedcore.components.registry import Registry
from fedcore.engine.evaluation import Score
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout

if TYPE_CHECKING:
    from fedcore.engine.execution import Execution
    from fedcore.federation.federation import Federation


class Engine(Protocol):
    """Local training and evaluation of one run."""

    layout: Layout

    def initial_state(self) -> ServerState:
        """The global model before round 1."""

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``. The cohort's tensors are valid until the next call."""

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set."""

    def close(self) -> None:
        """Give back what outlives a round: processes, shared memory. The engine ends here."""


#: A factory (federation, execution) -> Engine by name.
ENGINES: Registry[Callable[[Federation, Execution], Engine]] = Registry("engine", "fedcore.engine")
