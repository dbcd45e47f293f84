"""Strategies: how the server turns a cohort's updates into the next global model.

A strategy is a function of a matrix [clients, coordinates] and of facts about each client. The
same code serves the in-process engines and Flower.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore.components.component import Component
from fedcore.components.kinds import STRATEGIES as STRATEGIES
from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort as Cohort  # strategies of others import it from here
from fedcore.exchange.cohort import Memory, ServerState
from fedcore.strategies.buffers import rule_of
from fedcore.strategies.definitions import Definition

if TYPE_CHECKING:
    from fedcore.optimizers.local_rule import LocalRule
    from fedcore.scenario import Scenario


class Strategy(Component):
    """An aggregation rule; subclasses are registered in `STRATEGIES`.

    One object serves every run: what belongs to one run is in its `Memory`. ``definition`` is what
    the identity check holds every step to. It is not inherited, as a subclass may step otherwise:
    that restates it, or leaves it and says when it `must_differ`.

    ``keeps_batch_norm``: clients keep BatchNorm layers of their own (FedBN).
    ``may_ignore_clients``: a step may leave clients out, who then leave no trace in the model.
    ``adds_noise``: the model moves even where no client changes anything.
    ``buffer_rule``: what becomes of float buffers such as BatchNorm's running statistics, and of
    integer ones, a name of `BUFFER_RULES`. Under ``mean`` one client can take the model over
    through them, whatever the step does: a rule that is to withstand clients takes ``median``.
    ``foreign``: the code of others aggregates whole replies, by rules that nothing here knows.
    ``root_samples``: test samples on which the server trains an update of its own, `Cohort.root`;
    they are drawn by the run's seed, and not scored.
    """

    kind: ClassVar[str] = "strategy"
    keeps_batch_norm: ClassVar[bool] = False
    may_ignore_clients: ClassVar[bool] = False
    adds_noise: ClassVar[bool] = False
    buffer_rule: ClassVar[str] = "mean"
    foreign: ClassVar[bool] = False
    definition: ClassVar[Definition | None] = None

    @property
    def root_samples(self) -> int:
        """Test samples on which the server trains an update of its own, `Cohort.root`; mostly 0."""
        return 0

    def withstands(self, rows: int) -> int | None:
        """How many malicious ones among ``rows`` updates the rule is made for; None: no number.

        With more of them in a round, the rule's own assumption is broken. Rules that bound, weigh
        or average state no such number.
        """
        return None

    @abstractmethod
    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The change of the global parameters, [P], from ``updates`` [K, P].

        ``updates`` are to be read only; ``cohort`` gives the facts, ``memory`` persists between
        rounds.
        """

    def local_rule(self, scenario: Scenario) -> LocalRule | None:
        """What clients do around their local steps, and keep between rounds; None: nothing."""
        return None

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        """Whether this round's step cannot equal FedAvg's, judged before the step is made.

        Asked of strategies without a ``definition`` only. ``cohort`` is `Cohort.restricted` to the
        parameters.
        """
        return False

    def remarks(self, memory: Memory) -> tuple[str, ...]:
        """What the record of a run must say of its steps, as sentences; ``memory`` is the run's."""
        return ()

    def aggregate(
        self,
        state: ServerState,
        cohort: Cohort,
        num_parameters: int,
        rows: Cohort | None = None,
    ) -> ServerState:
        """The next global model.

        Parameters (the first ``num_parameters`` coordinates) move by `step`, float buffers and
        counters by ``buffer_rule``. ``rows`` are what pre-aggregation made of the parameters of
        ``cohort``, if anything did. FedcoreError where the step has another shape than the
        parameters.
        """
        vector = state.vector.clone()
        rows = cohort if rows is None else rows
        step = self.step(rows.updates[:, :num_parameters], rows, state.memory)
        shape = tuple(step.shape) if isinstance(step, torch.Tensor) else None
        if shape != (num_parameters,):  # one of a single number would be added to all of them
            got = f"shape {shape}" if shape is not None else repr(step)
            raise FedcoreError(
                f"strategy {self.name or type(self).__name__!r} must return the change of the "
                f"global parameters as a tensor of shape ({num_parameters},), got {got}: correct "
                "its step method"
            )
        vector[:num_parameters] += step
        rule, buffers = rule_of(self), cohort.updates[:, num_parameters:]
        if buffers.numel():
            vector[num_parameters:] += rule.floats(buffers, cohort.weights)
        counters = rule.counts(cohort.counters) if cohort.counters.numel() else state.counters
        return ServerState(vector, counters, state.memory)


def combine(rows: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """sum_i c_i rows_i: ``rows`` [K, n], ``coefficients`` [K]; result [n] in the type of rows."""
    return coefficients.to(rows) @ rows


def combine_some(
    rows: torch.Tensor,
    chosen: Sequence[int],
    coefficients: torch.Tensor,
    chunk: int = 1 << 18,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """sum_i c_i rows_chosen[i], [n], ``coefficients`` [len(chosen)]; other rows are not read.

    Row by row, in chunks whose sum stays in a cache: to gather rows costs more than to add them up.
    The sum is added to ``out`` where that is given.
    """
    out = rows.new_zeros(rows.shape[1]) if out is None else out
    width = max(1, rows.shape[1] if rows.is_cuda else chunk)
    shares = coefficients.tolist()
    for total, part in zip(torch.split(out, width), torch.split(rows, width, dim=1), strict=True):
        for row, share in zip(chosen, shares, strict=True):
            total.add_(part[row], alpha=share)
    return out


def weighing(size: int, chosen: Sequence[int], coefficients: Sequence[float]) -> tuple[float, ...]:
    """The coefficients of all ``size`` rows, [size]: 0 for those that were not ``chosen``."""
    weights = [0.0] * size
    for row, coefficient in zip(chosen, coefficients, strict=True):
        weights[row] = coefficient
    return tuple(weights)


def counted(scenario: Scenario) -> str:
    """How many updates the strategy of ``scenario`` is given, in words for its preconditions."""
    size = scenario.cohort_size
    return str(size) if scenario.rows == size else f"{scenario.rows} rows of {size} clients"


def with_server_momentum(
    step: torch.Tensor, memory: dict[str, torch.Tensor], momentum: float
) -> torch.Tensor:
    """Heavy-ball momentum on the server: buffer = momentum * buffer + step (Hsu et al. 2019).

    0 leaves ``step`` as it is. The buffer lives in ``memory`` for the whole run.
    """
    if momentum == 0:
        return step
    buffer = memory.get("momentum")
    memory["momentum"] = step.clone() if buffer is None else buffer.mul_(momentum).add_(step)
    return memory["momentum"]
