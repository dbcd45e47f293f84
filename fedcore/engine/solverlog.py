"""What a local solver did: its steps counted, and the learning rate that explains them.

A few weights are watched, in a quarter of all participations (`watches`): before each step their
gradient is noted, after it their values. From these alone the steps of the scenario's solver are
worked out again, in float64, up to the learning rate, which is fitted. The formulas are those of
torch.optim, written apart from the solvers'.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from fedcore.optimizers.solvers import Solver
    from fedcore.scenario import Scenario

Values = npt.NDArray[np.float64]

_WATCHED: Final = 96  # weights that are looked at
_STEPS: Final = 64  # steps of a round that are worked out again; more are counted
_KNOWN: Final = (
    "sgd",
    "momentum",
    "proximal",
    "adam",
    "clientmomentum",
)  # of others there is no second opinion
_BETAS, _EPS = (0.9, 0.999), 1e-8


class SolverLog:
    """Notes one client's round; `begin` with its first weights, then every step."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.steps = 0
        #: Whether the next client's steps are worked out again; all are counted.
        self.watching = True

    def watched(self, solver: Solver) -> Solver:
        """``solver``, noted here: it has `start` and `step`, as the loops of engines need."""
        return cast("Solver", _Watched(solver, self))

    def begin(self, anchor: torch.Tensor) -> None:
        """A client starts; ``anchor`` [.., P] are the global parameters."""
        self.steps = 0
        self._most = _STEPS if self.watching else 0
        if not self.watching:
            return
        self._chosen = chosen(anchor.shape[-1])
        self._anchor = anchor[..., self._chosen].clone()
        self._gradients: list[torch.Tensor] = []
        self._weights: list[torch.Tensor] = []
        self._jumps: dict[int, torch.Tensor] = {}
        self._looked_at: tuple[int, int] | None = None

    def before(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        """Note what a step starts from."""
        if self.steps >= self._most:
            return
        if self._looked_at != (id(weights), id(gradient)):  # engines hand over the same ones
            self._looked_at = id(weights), id(gradient)
            self._kept = weights, gradient  # so that nothing else gets their ids
            self._view, self._slope = weights[..., self._chosen], gradient[..., self._chosen]
        if not self.steps:
            self._weights.append(self._view.clone())
        self._gradients.append(self._slope.clone())

    def after(self, weights: torch.Tensor) -> None:
        """Note where a step has led."""
        if self.steps < self._most:
            self._weights.append(self._view.clone())
        self.steps += 1

    def jumped(self, weights: torch.Tensor) -> None:
        """Note where a rule, not the solver, has moved ``weights`` since the last step."""
        if 0 < self.steps <= self._most:
            self._jumps[self.steps] = weights[..., self._chosen].clone()

    def noted(self) -> SolverLog:
        """What has been noted of a client, which the next one's `begin` leaves as it is."""
        kept = SolverLog.__new__(SolverLog)
        kept.scenario, kept.steps, kept.watching = self.scenario, self.steps, self.watching
        if self.watching:
            kept._anchor, kept._weights = self._anchor, self._weights
            kept._gradients, kept._jumps = self._gradients, self._jumps
        return kept

    def fit(self) -> tuple[float, float, float]:
        """(rate, its standard error, share of the steps that it does not explain) of a client."""
        if not self.steps or not self.watching or self.scenario.optimizer not in _KNOWN:
            return float("nan"), float("inf"), 0.0
        noted = torch.cat((self._anchor, *self._weights, *self._gradients)).cpu()
        table = noted.view(-1, len(self._anchor)).numpy()
        count = len(self._weights)
        weights, begins = table[1 : 1 + count], None
        if self._jumps:
            begins = weights[:-1].copy()
            for step, jumped in self._jumps.items():
                begins[step : step + 1] = jumped.cpu().numpy()
        return fit(self.scenario, table[1 + count :], weights, table[0], begins)

    def moved(self) -> float:
        """`along` of the way from the first weights to the last; NaN where that is not known."""
        if not self.watching or not 0 < self.steps <= _STEPS:
            return float("nan")
        last = self._jumps.get(self.steps, self._weights[-1])
        return float(along((last - self._anchor).cpu().numpy()))

    def all_moved(self, steps: Sequence[int]) -> list[float]:
        """As `moved`, of the clients of `fits`."""
        result = np.full(len(steps), np.nan)
        if not 0 < self.steps <= _STEPS:
            return result.tolist()
        last = self._anchor.clone()
        for step, weights in enumerate(self._weights):  # of fewer and fewer clients
            last[: len(weights)] = weights
            if step in self._jumps:
                last[: len(weights)] = self._jumps[step]
        done = np.array(steps) <= self.steps
        result[done] = along((last - self._anchor).cpu().numpy())[done]
        return result.tolist()

    def fits(self, steps: Sequence[int]) -> list[tuple[float, float, float]]:
        """As `fit`, of many clients that step together: ``steps`` of each, those with most first.

        The tensors that were noted are [clients at work, P].
        """
        if not self.steps or self.scenario.optimizer not in _KNOWN:
            return [(float("nan"), float("inf"), 0.0)] * len(steps)
        rows, width = self._anchor.shape
        noted = torch.cat((self._anchor, *self._weights, *self._gradients)).cpu().numpy()
        count, path = len(self._gradients), noted[rows:]
        weights = np.zeros((count + 1, rows, width), noted.dtype)
        gradients = np.zeros((count, rows, width), noted.dtype)
        for table, tensors in ((weights, self._weights), (gradients, self._gradients)):
            for step, tensor in enumerate(tensors):
                table[step, : len(tensor)], path = path[: len(tensor)], path[len(tensor) :]
        begins = None
        if self._jumps:
            begins = weights[:-1].copy()
            for step, jumped in self._jumps.items():
                begins[step : step + 1, : len(jumped)] = jumped.cpu().numpy()
        return [
            fit(
                self.scenario,
                gradients[:done, row],
                weights[: done + 1, row],
                noted[row],
                None if begins is None else begins[:done, row],
            )
            for row, done in enumerate(min(own, count) for own in steps)
        ]


def chosen(size: int) -> slice:
    """The weights that are watched, of ``size``."""
    stride = max(1, size // _WATCHED)
    return slice(None, _WATCHED * stride, stride)


def along(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """``values`` [.., n] of the watched weights in one number, to be compared with another's."""
    result: Values = values.astype(np.float64) @ (1 + np.arange(values.shape[-1]) % 7)
    return result


class _Watched:
    """A solver and who notes its steps."""

    def __init__(self, solver: Solver, log: SolverLog) -> None:
        self._solver, self._log = solver, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._solver, name)

    def start(self, anchor: torch.Tensor) -> None:
        self._log.begin(anchor)
        self._solver.start(anchor)

    def step(self, weights: torch.Tensor, gradient: torch.Tensor) -> None:
        self._log.before(weights, gradient)
        self._solver.step(weights, gradient)
        self._log.after(weights)


def watches(round: int, client: int) -> bool:
    """Whether the steps of ``client`` in ``round`` (from 1) are worked out again: a quarter of all.

    Always in round 1; later without a pattern by client or round.
    """
    return round == 1 or zlib.crc32(b"%d %d" % (round, client)) % 4 == 0


def fit(
    scenario: Scenario,
    gradients: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    anchor: npt.NDArray[Any],
    begins: npt.NDArray[Any] | None = None,
) -> tuple[float, float, float]:
    """(rate, its standard error, unexplained share) by least squares.

    ``gradients`` [T, n] of the loss at ``weights`` [T + 1, n], which begin at ``anchor`` [n].
    ``begins`` [T, n] are where the steps begin, if not all do where the one before has ended.
    """
    places = weights.astype(np.float64)
    starts = places[:-1] if begins is None else begins.astype(np.float64)
    moved = places[1:] - starts
    moves = directions(scenario, gradients.astype(np.float64), starts, anchor)
    moves, moved, ends = moves.ravel(), moved.ravel(), places[1:].ravel()
    length, all_moved = float(moves @ moves), float(moved @ moved)
    # what is not finite fails every comparison
    if not (0 < length < math.inf and 0 < all_moved < math.inf):
        return float("nan"), float("inf"), 0.0
    rate = -float(moved @ moves) / length
    blur = _ROUNDING[weights.dtype.name] * math.sqrt(float(ends @ ends) / length)
    # of the least-squares line: |moved|^2 = rate^2 |moves|^2 + what is left
    return rate, blur, max(0.0, 1 - rate * rate * length / all_moved)


_ROUNDING: Final = {"float32": 2.0**-24, "float64": 2.0**-53}  # half a unit in the last place


def directions(
    scenario: Scenario, gradients: Values, weights: Values, anchor: npt.NDArray[Any]
) -> Values:
    """What the scenario's solver takes ``lr`` times of, at each step, [T, n]: in ``gradients``."""
    decay, mu = scenario.weight_decay, scenario.mu or 0.0
    momentum, dampening = scenario.momentum or 0.0, scenario.dampening or 0.0
    result = gradients
    if decay:
        result += decay * weights
    if mu:
        result += mu * (weights - anchor)
    if scenario.optimizer == "adam":
        first, second = np.zeros_like(result[0]), np.zeros_like(result[0])
        for step, gradient in enumerate(result):
            first = _BETAS[0] * first + (1 - _BETAS[0]) * gradient
            second = _BETAS[1] * second + (1 - _BETAS[1]) * gradient**2
            corrected = first / (1 - _BETAS[0] ** (step + 1))
            root = np.sqrt(second / (1 - _BETAS[1] ** (step + 1)))
            result[step] = corrected / (root + _EPS)
    elif momentum:
        buffer = result[0].copy()
        for step in range(len(result)):
            if step:
                buffer *= momentum
                buffer += result[step] if not dampening else (1 - dampening) * result[step]
            if scenario.nesterov:
                result[step] += momentum * buffer
            else:
                result[step] = buffer
    return result
