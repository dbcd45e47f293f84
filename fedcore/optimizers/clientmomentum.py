"""Client momentum: what a client sends is the momentum of its updates over the rounds.

Karimireddy, He and Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021,
algorithm 2: m_i = (1 - beta) g_i + beta m_i, and the server aggregates the m_i, by centered
clipping for instance. Momentum makes the noise of what is sent smaller, round by round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedcore.components.parameters import param
from fedcore.optimizers.local_rule import LocalRule, Participation, private_steps_problems
from fedcore.optimizers.optimizer import OPTIMIZERS, Optimizer
from fedcore.optimizers.solvers import SgdSolver

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

KEPT = "momentum"


@OPTIMIZERS.register("clientmomentum", "SGD; sends momenta kept over rounds (Karimireddy 2021)")
class ClientMomentum(Optimizer):
    """Local SGD of any number of steps gives the update u_i; sent is beta m_i + (1 - beta) u_i.

    The update of a round takes the place of the paper's gradient: with one local step it is -lr
    times that, and this is the paper's algorithm. So the memory is of about 1 / (1 - beta) rounds
    however many steps a round has; a buffer of single steps would forget within a round. A client
    that takes part for the first time sends its update as it is (the paper's beta_1 = 0). A client
    that is not sampled keeps its momentum as it was. What malicious clients keep is of their honest
    work, whatever they send. Float buffers are sent as they are.
    """

    beta: float = param(
        "momentum over rounds", default=0.9, low=0, high=1, open_low=True, open_high=True,
        token="beta",
    )  # fmt: skip

    def solver(self, scenario: Scenario) -> SgdSolver:
        """Plain SGD; its updates are not what is sent, so that there is no normalizer."""
        return _PlainSteps(scenario)

    def local_rule(self, scenario: Scenario) -> LocalRule:
        """See `RoundMomentum`."""
        return RoundMomentum(self.beta)

    def problems(self, scenario: Scenario) -> list[str]:
        """Layers that clients keep to themselves, privacy."""
        name = "optimizer 'clientmomentum'"
        problems = private_steps_problems(name, scenario)
        if scenario.parts.strategy.keeps_batch_norm:
            problems.append(
                f"{name} mixes a client's updates, and clients of strategy {scenario.strategy!r} "
                "begin each round from layers of their own: choose another"
            )
        return problems


class _PlainSteps(SgdSolver):
    def normalizer(self, steps: int) -> None:  # type: ignore[override]
        """None: a sum of coefficients of one round is not what is sent."""


class RoundMomentum(LocalRule):
    """What a client does once its steps are made: see `ClientMomentum`."""

    keeps = (KEPT,)

    def __init__(self, beta: float) -> None:
        self._beta = beta

    def start(self, work: Participation) -> None:
        self._work = work

    def end(self, weights: torch.Tensor) -> None:
        work, kept = self._work, self._work.kept[KEPT]
        update = weights - work.anchor
        if work.first:
            kept.copy_(update)
        else:
            kept.mul_(self._beta).add_(update, alpha=1 - self._beta)
        torch.add(work.anchor, kept, out=weights)
