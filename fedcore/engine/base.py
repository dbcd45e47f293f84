"""What an engine does: train a cohort from a global model, and score a global model."""

from __future__ import annotations

from typing import Protocol

from fedcore.engine.evaluation import Score
from fedcore.strategies.base import Cohort, ServerState
from fedcore.vector import Layout


class Engine(Protocol):
    """Local training and evaluation of one run."""

    layout: Layout

    def initial_state(self) -> ServerState:
        """The global model before round 1."""

    def train(self, state: ServerState, round: int, clients: tuple[int, ...]) -> Cohort:
        """Train ``clients`` from ``state``. The cohort's tensors are valid until the next call."""

    def evaluate(self, state: ServerState) -> Score:
        """Score ``state`` on the test set."""
