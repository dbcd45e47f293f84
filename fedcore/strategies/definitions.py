"""What each rule's step must be, written a second time, for the identity check.

A definition sees some coordinates of a round in float64 and gives the step that its source
prescribes there. It shares no code with the strategies, so that a bug in these cannot hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Noted
    from fedcore.scenario import Scenario

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_NORMALIZER = 1e-7  # relative rounding of a recursion of many steps

_LENGTH = 1e-6  # relative error that a noted length may have
_PULL = 0.02  # the same of RFA's weights, which are of the point one iteration before


@dataclass(frozen=True)
class View:
    """A round at ``s`` of its coordinates.

    ``strategy`` has the parameters. ``rows`` [K, s] are the updates, ``made`` [s] the step,
    ``rounding`` [s] that of the weights which it was added to; ``memory`` holds the server's
    tensors before the step. ``unit`` bounds the relative error of a sum of K products in the type
    of the updates, whose numbers lie between ``least`` and ``largest``. ``distance`` gives the
    Euclidean distance of client i's whole update from the server's centre before the step (False)
    or from the step (True): inf where it is not finite, NaN where rounding hides it.
    ``displacement`` is `unit_gradient` of at least so many steps, ``drawn`` one of the clients, and
    ``normalizers`` what the cohort takes for the sums of FedNova's a_i. Behind pre-aggregation
    rows and facts are what that made, and ``sent`` is the round as the clients sent it.
    ``places`` [s] are the coordinates of the view among all ``size`` ones, ``chance`` gives a new
    generator of (a part of) what the server draws in the round, and ``apart`` the Euclidean
    distance of two clients' whole updates (inf where it is not finite). ``product`` is the inner
    product of two whole updates, of which -1 is the one that the server trained itself (NaN: it has
    none), and a name the tensor of the server's memory after the step. ``at`` gives the values of a
    whole update at some of all coordinates. ``clients`` are those of the rows, ``population`` is
    the number of all clients of the run. ``thorough`` asks for what is costly to see, too: in a run
    in the first round and in a tenth of the others, drawn anew.
    """

    strategy: Any
    rows: Floats
    samples: tuple[int, ...]
    steps: tuple[int, ...]
    normalizers: tuple[float | None, ...]
    memory: Mapping[str, Floats]
    noted: Noted | None
    made: Floats
    rounding: Floats
    unit: float
    least: float
    largest: float
    distance: Callable[[int, bool], float]
    displacement: Callable[[int], Floats]
    drawn: int
    sent: View | None = None
    population: int | None = None
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    size: int = -1
    chance: Callable[..., np.random.Generator] = np.random.default_rng
    apart: Callable[[int, int], float] = lambda one, other: np.inf
    product: Callable[[int | str, int | str], float] = lambda one, other: np.nan
    at: Callable[[int, npt.NDArray[np.int64]], Floats] = lambda row, places: np.full(
        len(places), np.nan
    )
    clients: tuple[int, ...] = ()
    thorough: bool = True

    @property
    def whole(self) -> bool:
        """Whether the view shows all coordinates, so that a definition can choose by itself."""
        return len(self.places) == self.size

    @property
    def weights(self) -> Floats:
        """n_i / sum n_j over the cohort, [K]."""
        samples: Floats = np.asarray(self.samples, dtype=np.float64)
        return samples / float(samples.sum())

    @cached_property
    def mean(self) -> Expected:
        """FedAvg's step on the rows."""
        return linear(self, self.weights)

    @property
    def plain(self) -> Expected:
        """FedAvg's step on what the clients sent."""
        return self.mean if self.sent is None else self.sent.mean

    @cached_property
    def ordered(self) -> Floats:
        """Each coordinate's values in ascending order, [K, s]; a NaN counts as plus infinity."""
        return np.sort(np.where(np.isnan(self.rows), np.inf, self.rows), axis=0)


@dataclass(frozen=True)
class Expected:
    """A step [s], the most that arithmetic can miss it by [s], and the memory after it (the same).

    ``problem`` says what is wrong whatever the step is; None where nothing is.
    """

    step: Floats
    error: Floats
    memory: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Definition:
    """``what`` the step is, in words that follow "does not step by", and the ``function``."""

    what: str
    function: Callable[[View], Expected]


def linear(view: View, coefficients: Floats) -> Expected:
    """sum_i c_i u_i; rows whose coefficient is 0 are not read."""
    used = coefficients != 0
    rows = view.rows if used.all() else view.rows[used]
    step = coefficients[used] @ rows
    # a coefficient rounds by eps of itself, and by the least number of its type
    rounded = view.unit * np.abs(coefficients[used]) + view.least
    return Expected(step, rounded @ np.abs(rows))


def median_of(view: View, cut: int) -> Expected:
    """The mean without the ``cut`` least and greatest values."""
    kept = view.ordered[cut : len(view.rows) - cut]
    return Expected(kept.mean(axis=0), view.unit * np.abs(kept).mean(axis=0))


def unit_gradient(scenario: Scenario, steps: int) -> Floats:
    """Displacement over lr after 1 ... ``steps`` local steps on a constant unit gradient, [steps].

    The scenario's own solver makes the steps: so this is the sum of FedNova's a_i, whatever the
    solver says of it.
    """
    solver = scenario.parts.optimizer.solver(scenario)
    solver.weight_decay = 0.0
    weights = torch.zeros(1, dtype=torch.float64)
    solver.start(weights.clone())
    places = np.empty(steps)
    for taken in range(steps):
        solver.step(weights, torch.ones_like(weights))
        places[taken] = -float(weights) / scenario.lr
    return places


def _normalised(view: View, normalizers: Floats) -> Floats:
    """FedNova's coefficients p_i tau_eff / a_i, [K]; p_i where all ``normalizers`` are equal."""
    if (normalizers == normalizers[0]).all():
        return view.weights
    return view.weights * (view.weights @ normalizers) / normalizers


def _fedavg(view: View) -> Expected:
    return view.mean


def _with_momentum(view: View, mean: Expected) -> Expected:
    lr, beta = view.strategy.server_lr, view.strategy.server_momentum
    step, error = mean.step, mean.error
    memory: dict[str, tuple[Floats, Floats]] = {}
    if beta:
        carried = beta * view.memory.get("momentum", np.zeros_like(step))
        step = carried + step
        error = error + view.unit * (np.abs(carried) + np.abs(step))
        memory = {"momentum": (step, error)}
    return Expected(lr * step, lr * (error + view.unit * np.abs(step)), memory)


def _fedavgm(view: View) -> Expected:
    return _with_momentum(view, view.mean)


def fednova(view: View, normalizers: Floats) -> Expected:
    """FedNova's step by the sums ``normalizers`` [K] of the vectors a_i."""
    return _with_momentum(view, linear(view, _normalised(view, normalizers)))


def _fednova(view: View) -> Expected:
    steps = np.asarray(view.steps)
    due = view.displacement(max(view.steps))[steps - 1]
    expected = fednova(view, due)
    told = np.array([np.nan if a is None else a for a in view.normalizers])
    wrong = ~(np.abs(told - due) <= _NORMALIZER * np.abs(due))
    if not wrong.any():
        return expected
    first = int(wrong.argmax())
    named = " (the square root of the steps)" if np.allclose(told, np.sqrt(steps)) else ""
    text = (
        f"the solver says normalizer {told[first]:.6g}{named} of {steps[first]} local steps, whose "
        f"displacement on a unit gradient is {due[first]:.6g}"
    )
    return Expected(expected.step, expected.error, expected.memory, text)


def _adaptive(view: View, yogi: bool) -> Expected:
    strategy, unit = view.strategy, view.unit
    beta_1, beta_2 = strategy.server_momentum, strategy.beta_2
    tau, lr = strategy.tau, strategy.server_lr
    mean, off = view.mean.step, view.mean.error
    first = view.memory.get("first", np.zeros_like(mean))
    second = view.memory.get("second", np.full_like(mean, tau**2))
    square, least = mean**2, 1e-37  # what a float32 may lose to underflow
    off_square = 2 * np.abs(mean) * off + off**2 + unit * square + least
    moved = beta_1 * first + (1 - beta_1) * mean
    off_first = (1 - beta_1) * off + unit * (np.abs(first) + np.abs(mean))
    if yogi:
        gap = second - square
        grown = second - (1 - beta_2) * square * np.sign(gap)
        # near a tie rounding decides the sign
        tied = np.abs(gap) <= off_square + unit * (second + square)
        off_second = (1 - beta_2) * (off_square + 2 * tied * square)
    else:
        grown = beta_2 * second + (1 - beta_2) * square
        off_second = (1 - beta_2) * off_square
    off_second = off_second + unit * (second + square) + least
    low = np.sqrt(np.maximum(grown - off_second, 0.0)) + tau
    high = np.sqrt(grown + off_second) + tau
    step = lr * moved / (np.sqrt(np.maximum(grown, 0.0)) + tau)
    most = (np.abs(moved) + off_first) / low
    error = lr * (most - np.maximum(np.abs(moved) - off_first, 0.0) / high) + 4 * unit * lr * most
    # a square that is too large for the type of the updates is infinite there
    lost = ~(np.maximum(square, grown) < view.largest / 4)
    error, off_second = np.where(lost, np.inf, error), np.where(lost, np.inf, off_second)
    memory = {"first": (moved, off_first), "second": (grown, off_second)}
    return Expected(step, error, memory)


FEDAVG = Definition("the sample-weighted mean", _fedavg)
FEDAVGM = Definition("server_lr times the momentum of the sample-weighted mean", _fedavgm)
FEDNOVA = Definition("tau_eff * sum_i p_i u_i / a_i, a_i the sum of i's coefficients", _fednova)
FEDADAM = Definition("Adam's step on the sample-weighted mean", lambda v: _adaptive(v, False))
FEDYOGI = Definition("Yogi's step on the sample-weighted mean", lambda v: _adaptive(v, True))
