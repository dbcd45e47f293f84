"""What local rules do, seen from outside: part of the witness, which asks no rule and tells none.

A `Gauge` looks how far a client goes where a projection is due, a `Bend` at what is added to
gradients.
"""

from __future__ import annotations

import torch

from fedcore.engine.solverlog import along, chosen
from fedcore.optimizers.local_rule import LocalRule, Participation


class Gauge:
    """Greatest distances ``beyond`` (before a projection) and ``reach`` (after it) of a round.

    Its two rules stand around the one that projects, every ``every`` steps and at the last one.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.beyond = self.reach = 0.0
        self.rules = _Before(self), _After(self)

    def start(self, work: Participation) -> None:
        """Begin the work of a client."""
        self._anchor, self._steps, self._taken = work.anchor, work.steps, 0
        self.beyond = self.reach = 0.0

    def stepped(self, weights: torch.Tensor) -> None:
        """A step has been taken."""
        self._taken += 1
        if self.due:
            self.beyond = max(self.beyond, self._distance(weights))

    def projected(self, weights: torch.Tensor) -> None:
        """What follows a step is done."""
        if self.due:
            self.reach = max(self.reach, self._distance(weights))

    @property
    def due(self) -> bool:
        """Whether a projection follows the step that was taken last."""
        return self._taken % self.every == 0 or self._taken == self._steps

    def _distance(self, weights: torch.Tensor) -> float:
        return float((weights.double() - self._anchor.double()).square().sum().sqrt())


class _Before(LocalRule):
    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def start(self, work: Participation) -> None:
        self._gauge.start(work)

    def after(self, weights: torch.Tensor) -> bool:
        self._gauge.stepped(weights)
        return False


class _After(LocalRule):
    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def after(self, weights: torch.Tensor) -> bool:
        self._gauge.projected(weights)
        return False


class Bend:
    """What the rules between its two add to the gradients of a round, at the watched weights.

    By `fedcore.engine.solverlog.along`, summed over the steps: ``bent`` is what is added, ``way``
    the distances from the global weights, ``grown`` the sizes of the gradients.
    """

    def __init__(self) -> None:
        self.rules = _Raw(self), _Bent(self)
        self._sums: torch.Tensor | None = None

    def start(self, work: Participation) -> None:
        """Begin the work of a client."""
        self._where = chosen(len(work.anchor))
        self._anchor = work.anchor[self._where].double()
        self._sums = torch.zeros(3, len(self._anchor), dtype=torch.float64).to(self._anchor)

    def given(self, gradient: torch.Tensor) -> None:
        """The gradient as it was computed."""
        self._raw = gradient[self._where].to(torch.float64, copy=True)

    def handed_on(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        """The gradient that the solver is handed, at ``weights``."""
        assert self._sums is not None
        gradient = gradient[self._where].double()
        self._sums[0] += gradient - self._raw
        self._sums[1] += weights[self._where].double() - self._anchor
        self._sums[2] += gradient.abs() + self._raw.abs()

    def noted(self) -> tuple[float, float, float]:
        """(bent, way, grown) of the client that was trained last."""
        if self._sums is None:
            return 0.0, 0.0, 0.0
        bent, way, grown = along(self._sums.cpu().numpy()).tolist()
        return bent, way, grown


class _Raw(LocalRule):
    def __init__(self, bend: Bend) -> None:
        self._bend = bend

    def start(self, work: Participation) -> None:
        self._bend.start(work)

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        self._bend.given(gradient)


class _Bent(LocalRule):
    def __init__(self, bend: Bend) -> None:
        self._bend = bend

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        self._bend.handed_on(weights, gradient)
