"""Local solvers on flat parameter vectors: no optimizer objects, no per-tensor loops.

All operations are element-wise, so the same code steps one client [P] or many [K, P].
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from fedcore.components.kinds import OPTIMIZERS as OPTIMIZERS

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class Solver:
    """The steps of an optimizer in one run, see `fedcore.optimizers.optimizer`.

    `start` begins a client's work; its state never outlives a round.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.lr = scenario.lr
        self.mu = scenario.mu or 0.0
        self.weight_decay = scenario.weight_decay
        self._taken = 0

    def start(self, anchor: torch.Tensor) -> None:
        """Begin at ``anchor``, the global parameters; forget any earlier client."""
        self._taken = 0
        self._anchor = anchor

    def keep(self, clients: int) -> None:
        """Of many clients, go on with the first ``clients``: the others' work is done."""
        self._anchor = self._anchor[:clients]

    def step(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        """One update of ``weights`` in place; ``gradient`` is used as scratch."""
        if self.weight_decay:
            gradient.add_(weights, alpha=self.weight_decay)
        if self.mu:
            gradient.add_(weights - self._anchor, alpha=self.mu)
        self._apply(weights, gradient)
        self._taken += 1

    def _apply(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        raise NotImplementedError

    def normalizer(self, steps: int) -> float | None:
        """The sum of FedNova's a after ``steps`` >= 1 steps; None where no fixed a exists.

        It is the paper's ||a||_1 where no coefficient is negative. Proximal steps can have negative
        ones; the sum keeps their signs, as it is what a constant gradient moves by.
        """
        return None


class SgdSolver(Solver):
    """w -= lr * d, where d is the gradient, or its momentum as in torch.optim.SGD."""

    def __init__(
        self,
        scenario: Scenario,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(scenario)
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov

    def start(self, anchor: torch.Tensor) -> None:
        super().start(anchor)
        if self.momentum:
            self._buffer = torch.zeros_like(anchor)

    def keep(self, clients: int) -> None:
        super().keep(clients)
        if self.momentum:
            self._buffer = self._buffer[:clients]

    def _apply(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        if not self.momentum:
            weights.add_(gradient, alpha=-self.lr)
            return
        # torch.optim.SGD: the first gradient enters undampened
        share = 1.0 - self.dampening if self._taken else 1.0
        self._buffer.mul_(self.momentum).add_(gradient, alpha=share)
        if self.nesterov:
            weights.add_(gradient.add_(self._buffer, alpha=self.momentum), alpha=-self.lr)
        else:
            weights.add_(self._buffer, alpha=-self.lr)

    def normalizer(self, steps: int) -> float:
        return accumulated(
            steps, self.momentum, self.dampening, self.nesterov, shrink=self.lr * self.mu
        )


class AdamSolver(Solver):
    """Adam with bias correction, eps 1e-8, moments from zero in every round."""

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def start(self, anchor: torch.Tensor) -> None:
        super().start(anchor)
        self._first, self._second = torch.zeros_like(anchor), torch.zeros_like(anchor)

    def keep(self, clients: int) -> None:
        super().keep(clients)
        self._first, self._second = self._first[:clients], self._second[:clients]

    def _apply(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        t = self._taken + 1
        self._first.lerp_(gradient, 1 - self.beta1)
        self._second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        root = (self._second.sqrt() / (1 - self.beta2**t) ** 0.5).add_(self.eps)
        weights.addcdiv_(self._first, root, value=-self.lr / (1 - self.beta1**t))


def accumulated(
    steps: int, momentum: float, dampening: float, nesterov: bool, shrink: float
) -> float:
    """The sum of a: displacement over lr after ``steps`` >= 0 steps on a constant unit gradient.

    ``shrink`` is lr * mu. Running the recursion is exact for every combination; closed forms
    (Wang et al. 2020, section 4.1) exist for momentum alone and for the proximal term alone.
    """
    count = 1 << max(steps - 1, 0).bit_length()
    sums = partial_sums(count, momentum, dampening, nesterov, shrink)
    return sums[steps - 1] if steps else 0.0


@lru_cache(maxsize=64)
def partial_sums(
    count: int, momentum: float, dampening: float, nesterov: bool, shrink: float
) -> tuple[float, ...]:
    """`accumulated` after 1 ... ``count`` steps, [count]."""
    place = buffer = 0.0
    places = []
    for taken in range(count):
        direction = 1.0 - shrink * place
        if momentum:
            buffer = momentum * buffer + (1.0 - dampening if taken else 1.0) * direction
            direction = direction + momentum * buffer if nesterov else buffer
        place += direction
        places.append(place)
    return tuple(places)
