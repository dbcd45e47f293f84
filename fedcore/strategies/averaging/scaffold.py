"""SCAFFOLD: control variates correct the local steps of clients with unlike data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.components.parameters import param
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.optimizers.local_rule import LocalRule, Participation, private_steps_problems
from fedcore.strategies.definitions import Definition, Expected, View, linear
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine

if TYPE_CHECKING:
    from fedcore.optimizers.solvers import Solver
    from fedcore.scenario import Scenario

CONTROL, VARIATE = "control", "variate"


@STRATEGIES.register("scaffold", "control variates against client drift (Karimireddy et al. 2020)")
class Scaffold(Strategy):
    """Clients step by g - c_i + c, and the server by server_lr times the mean of their updates.

    Control variates are those of option II, c_i+ = c_i - c + (x - y_i) / (A_i lr), where A_i is the
    sum of the coefficients by which the solver accumulates gradients: the number of local steps for
    SGD, as in the paper, and more with momentum. The server moves c by the sum of the changes of
    the cohort over the number of all clients. A change of c_i follows from c, from what the client
    sends, and from its steps, so that the server works it out and nothing more is sent: an attack
    on updates reaches c, too, whereas the attacker's own c_i is that of its honest work.

    Stored are -lr c and -lr c_i, the displacement of a step. The means are plain ones, as in the
    paper: a client counts once, whatever the number of its samples; float buffers are averaged by
    samples. Whoever takes part for the first time begins with c_i = 0.
    Source: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled
    Averaging for Federated Learning", ICML 2020, algorithm 1.
    """

    definition = Definition(
        "server_lr times the plain mean, with a control variate of all clients' changes",
        lambda view: _scaffold(view),
    )
    server_lr: float = param("server learning rate", default=1.0, low=0, open_low=True, token="slr")

    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        size = len(updates)
        clients = Memory.of(memory).population or size
        sums = [float(a or 0) for a in cohort.normalizers]  # none is None: refused earlier
        shares = 1 / (clients * torch.tensor(sums, dtype=torch.float64))
        control = memory.get(CONTROL)
        moved = combine(updates, shares)
        memory[CONTROL] = moved if control is None else (1 - size / clients) * control + moved
        mean = combine(updates, torch.full((size,), 1 / size, dtype=torch.float64))
        return self.server_lr * mean

    def local_rule(self, scenario: Scenario) -> LocalRule:
        """See `ControlVariates`."""
        return ControlVariates(scenario.lr, scenario.parts.optimizer.solver(scenario))

    def problems(self, scenario: Scenario) -> list[str]:
        """Another solver, pre-aggregation, privacy."""
        problems = private_steps_problems("strategy 'scaffold'", scenario)
        solver = scenario.parts.optimizer.solver(scenario)
        rule = scenario.parts.optimizer.local_rule(scenario)
        if solver.normalizer(1) is None or scenario.mu or rule is not None:
            problems.append(
                "strategy 'scaffold' takes the mean gradient of a client from its update, for which"
                " local steps must be sums of gradients with known coefficients, got optimizer="
                f"{scenario.optimizer!r}: choose sgd or momentum"
            )
        return problems + chain_problems("scaffold", scenario)


def chain_problems(name: str, scenario: Scenario) -> list[str]:
    """Pre-aggregation, in front of a strategy whose clients keep what they sent."""
    if not scenario.parts.preaggregation:
        return []
    return [
        f"strategy {name!r} keeps an account of what each client sent, and preaggregation="
        f"{scenario.preaggregation!r} gives it other rows: choose another strategy, or leave "
        "preaggregation out"
    ]


class ControlVariates(LocalRule):
    """What a client of SCAFFOLD does: see `Scaffold`."""

    told = (CONTROL,)
    keeps = (VARIATE,)

    def __init__(self, lr: float, solver: Solver) -> None:
        self._lr, self._solver = lr, solver

    def start(self, work: Participation) -> None:
        self._work = work
        self._correction = (work.kept[VARIATE] - work.told[CONTROL]) / self._lr

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        gradient.add_(self._correction)

    def end(self, weights: torch.Tensor) -> None:
        work = self._work
        total = self._solver.normalizer(work.steps)
        assert total is not None, "a solver without a normalizer is refused earlier"
        change = (weights - work.anchor) / total - work.told[CONTROL]
        work.kept[VARIATE].add_(change)


def _scaffold(view: View) -> Expected:
    """Algorithm 1 once more: lines 16 and 17, on the updates -lr * (sum of a) * (mean gradient)."""
    size = len(view.rows)
    clients = size if view.population is None else view.population
    mean = linear(view, np.full(size, 1 / size))
    lr = view.strategy.server_lr
    sums = view.displacement(max(view.steps))[np.asarray(view.steps) - 1]
    before = view.memory.get(CONTROL, np.zeros_like(mean.step))
    changes = view.rows / sums[:, None] - before
    control = before + changes.sum(axis=0) / clients
    size_of = np.abs(before) + (np.abs(view.rows) / sums[:, None]).sum(axis=0) / clients
    error = 2 * view.unit * size_of + 4 * view.least
    step, off = lr * mean.step, lr * (mean.error + view.unit * np.abs(mean.step))
    return Expected(step, off, {CONTROL: (control, error)})
