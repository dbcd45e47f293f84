"""Optimizers: what a client does with a gradient, and with which parameters.

An optimizer is a value; its steps in one run are those of a `fedcore.optimizers.solvers.Solver`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from fedcore.components.component import Component
from fedcore.components.kinds import OPTIMIZERS as OPTIMIZERS
from fedcore.components.parameters import param
from fedcore.optimizers.local_rule import LocalRule
from fedcore.optimizers.solvers import AdamSolver, SgdSolver, Solver

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class Optimizer(Component):
    """A local optimizer. Subclasses are registered in `OPTIMIZERS`."""

    kind: ClassVar[str] = "optimizer"

    @abstractmethod
    def solver(self, scenario: Scenario) -> Solver:
        """The steps of a run of ``scenario``, which has learning rate, weight decay and mu."""

    def local_rule(self, scenario: Scenario) -> LocalRule | None:
        """What clients do around these steps, and keep between rounds; None: nothing."""
        return None


@OPTIMIZERS.register("sgd", "stochastic gradient descent")
class Sgd(Optimizer):
    """w -= lr * gradient."""

    def solver(self, scenario: Scenario) -> Solver:
        """See `SgdSolver`."""
        return SgdSolver(scenario)


@OPTIMIZERS.register("momentum", "SGD with momentum")
class Momentum(Optimizer):
    """SGD with momentum; the buffer starts at zero in every round."""

    momentum: float = param("momentum", default=0.9, low=0, high=1, open_high=True, token="rho")
    dampening: float = param("momentum's dampening", default=0.0, low=0, high=1)
    nesterov: bool = param("Nesterov momentum", default=False)

    def solver(self, scenario: Scenario) -> Solver:
        """See `SgdSolver`."""
        return SgdSolver(scenario, self.momentum, self.dampening, self.nesterov)

    def problems(self, scenario: Scenario) -> list[str]:
        """No momentum at all, or two kinds that exclude each other."""
        problems = []
        if not self.momentum:
            problems.append("optimizer 'momentum' with momentum=0 is 'sgd': name that, or raise it")
        if self.nesterov and self.dampening:
            problems.append(f"nesterov needs dampening=0, got {self.dampening}: choose one")
        return problems


@OPTIMIZERS.register("proximal", "SGD on the loss plus mu/2 ||w - x||^2")
class Proximal(Optimizer):
    """SGD, with or without momentum, whose gradient gains mu (w - x), x the global parameters."""

    mu: float = param("proximal coefficient", low=0, open_low=True, token="mu", shared=True)
    momentum: float = param("momentum", default=0.0, low=0, high=1, open_high=True, token="rho")
    dampening: float = param("momentum's dampening", default=0.0, low=0, high=1)
    nesterov: bool = param("Nesterov momentum", default=False)

    def solver(self, scenario: Scenario) -> Solver:
        """See `SgdSolver`."""
        return SgdSolver(scenario, self.momentum, self.dampening, self.nesterov)

    def problems(self, scenario: Scenario) -> list[str]:
        """Nesterov momentum without momentum, or with dampening."""
        if self.nesterov and (self.dampening or not self.momentum):
            return ["nesterov needs momentum > 0 and dampening=0: set these, or nesterov=False"]
        return []


@OPTIMIZERS.register("adam", "Adam with betas 0.9, 0.999 (Kingma and Ba 2015)")
class Adam(Optimizer):
    """Adam with bias correction, moments from zero in every round."""

    def solver(self, scenario: Scenario) -> Solver:
        """See `AdamSolver`."""
        return AdamSolver(scenario)
