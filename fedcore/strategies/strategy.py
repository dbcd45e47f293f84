"""Strategies: how the server turns a cohort's updates into the next global model.

A strategy is a function of a matrix [clients, coordinates] and of facts about each client. The
same code serves the in-process engines and Flower.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fedcore.components.bridge import OldComponent as Component
from fedcore.components.kinds import STRATEGIES as STRATEGIES
from fedcore.strategies.definitions import Definition

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@dataclass
class ServerState:
    """The global model: ``vector`` [D], ``counters`` [I] int64, and what the server remembers."""

    vector: torch.Tensor
    counters: torch.Tensor
    memory: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """What the clients of one round sent, in ascending order of client.

    ``updates`` [K, D] are client models minus the global one, ``counters`` [K, I] the integer
    buffers. ``samples`` are training samples, ``steps`` local optimizer steps, ``normalizers``
    the sums of the coefficients of FedNova's a_i (None where the local solver has none). ``noted``
    [K, WIDTH] int64 is what a `fedcore.engine.witness.Witness` saw of each client's work; no
    strategy looks at it.
    """

    clients: tuple[int, ...]
    updates: torch.Tensor
    counters: torch.Tensor
    samples: tuple[int, ...]
    steps: tuple[int, ...]
    normalizers: tuple[float | None, ...]
    noted: npt.NDArray[np.int64] | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )

    @property
    def weights(self) -> torch.Tensor:
        """p_i = n_i / sum n_j over the cohort, [K] float64 on the CPU."""
        samples = torch.tensor(self.samples, dtype=torch.float64)
        return samples / samples.sum()

    def restricted(self, num_parameters: int) -> Cohort:
        """This cohort without the float buffers behind the parameters of ``updates``; a view."""
        return dataclasses.replace(self, updates=self.updates[:, :num_parameters])


@dataclass(frozen=True)
class Noted:
    """What a step says of itself, so that nobody has to compute it again.

    ``coefficients`` [K] are those of the updates in the step, or not 0 for those that were chosen;
    ``passes`` the shares of each iteration [K], where the step starts from the last one;
    ``settled`` says that iterations came to rest.
    """

    coefficients: tuple[float, ...] = ()
    passes: tuple[tuple[float, ...], ...] = ()
    settled: bool = True


class Strategy(Component):
    """An aggregation rule. One object serves one run; subclasses are registered in `STRATEGIES`.

    ``definition`` is what the identity check holds every step to. It is not inherited, as a
    subclass may step otherwise: that restates it, or leaves it and says when it `must_differ`.
    ``noted`` is what the last step said of itself.
    """

    keeps_batch_norm = False  # clients keep BatchNorm layers of their own (FedBN)
    definition: Definition | None = None
    noted: Noted | None = None

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @abstractmethod
    def step(
        self, updates: torch.Tensor, cohort: Cohort, memory: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The change of the global parameters, [P], from ``updates`` [K, P].

        ``cohort`` gives the facts; ``memory`` persists between rounds.
        """

    def must_differ(self, cohort: Cohort, memory: dict[str, torch.Tensor]) -> bool:
        """Whether this round's step cannot equal FedAvg's, judged before the step is made.

        Asked of strategies without a ``definition`` only. ``cohort`` is `Cohort.restricted` to the
        parameters.
        """
        return False

    def remarks(self) -> tuple[str, ...]:
        """What the record of the run must say of the steps that were made, as sentences."""
        return ()

    def aggregate(self, state: ServerState, cohort: Cohort, num_parameters: int) -> ServerState:
        """The next global model.

        Parameters (the first ``num_parameters`` coordinates) move by `step`; float buffers by the
        plain sample-weighted mean and counters to the maximum, whatever the strategy.
        """
        vector = state.vector.clone()
        vector[:num_parameters] += self.step(
            cohort.updates[:, :num_parameters], cohort, state.memory
        )
        vector[num_parameters:] += combine(cohort.updates[:, num_parameters:], cohort.weights)
        counters = cohort.counters.amax(dim=0) if cohort.counters.numel() else state.counters
        return ServerState(vector, counters, state.memory)


def combine(rows: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """sum_i c_i rows_i: ``rows`` [K, n], ``coefficients`` [K]; result [n] in the type of rows."""
    return coefficients.to(rows) @ rows


def combine_some(
    rows: torch.Tensor, chosen: Sequence[int], coefficients: torch.Tensor, chunk: int = 1 << 18
) -> torch.Tensor:
    """sum_i c_i rows_chosen[i], [n], ``coefficients`` [len(chosen)]; other rows are not read.

    Row by row, in chunks whose sum stays in a cache: to gather rows costs more than to add them up.
    """
    out = rows.new_zeros(rows.shape[1])
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
