"""What clients must have kept between rounds, and done with it: an account apart from their own.

Each rule stands here a second time, on the updates of cohorts, in float64 and in one number per
client: the sum along the watched weights (`fedcore.engine.solverlog.along`), which is linear, as
these rules are. So control variates that are kept and never used are found.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch

from fedcore.engine.solverlog import along, chosen
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.evidence import FIELDS
from fedcore.exchange.fingerprints import of_bits
from fedcore.strategies.definitions import Floats

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_BENT, _WAY, _GROWN = (FIELDS.index(name) for name in ("bent", "way", "grown"))
_MOVED: Final = FIELDS.index("moved")
_SHARE: Final = (
    1e-3  # of a number that is compared; what is left out or doubled is off by all of it
)
_ROUNDING: Final = 32  # multiples of the relative rounding of what it is made of


class Ledger:
    """The account of one run; `problem` is asked in every round, before the server's step.

    ``mixes``: what clients send is not the way that they trained.
    """

    mixes: ClassVar[bool] = False

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.kept: dict[int, float] = {}

    def problem(self, cohort: Cohort, state: ServerState, num_parameters: int) -> str | None:
        """What a client of ``cohort``, as it was trained from ``state``, did not do; or None."""
        assert cohort.noted is not None
        where = chosen(num_parameters)
        self._eps = torch.finfo(cohort.updates.dtype).eps
        self._size = _size(state.vector[:num_parameters][where])
        seen = of_bits(cohort.noted)
        updates = along(cohort.updates[:, :num_parameters][:, where].cpu().numpy())
        found = None
        for row, client in enumerate(cohort.clients):
            problem = self.client(client, row, cohort, state, seen[row], float(updates[row]))
            found = found or problem
        return found

    @abstractmethod
    def client(
        self, client: int, row: int, cohort: Cohort, state: ServerState, seen: Floats, update: float
    ) -> str | None:
        """The same of one client, whose update is ``update`` along the watched weights."""

    def differs(self, value: float, due: float, parts: float) -> bool:
        """Whether ``value`` is not ``due``, beyond the rounding of its ``parts``."""
        error = _SHARE * abs(due) + _ROUNDING * self._eps * (parts + self._size)
        return bool(np.isfinite(value) and np.isfinite(due) and abs(value - due) > error)


class ScaffoldLedger(Ledger):
    """Each gradient plus c - c_i, where c_i = c_i - c + (x - y_i) / (A_i lr) after each round."""

    def client(
        self, client: int, row: int, cohort: Cohort, state: ServerState, seen: Floats, update: float
    ) -> str | None:
        steps, total = cohort.steps[row], cohort.normalizers[row]
        control = state.memory.get("control")
        # the negative of lr times c, and of lr times c_i
        common = 0.0 if control is None else _along(control)
        own, lr = self.kept.get(client, 0.0), self.scenario.lr
        self.kept[client] = own - common + update / (total or steps)
        due = steps * (own - common) / lr
        if not self.differs(seen[_BENT], due, seen[_GROWN] + self._size / lr):
            return None
        return (
            f"client {client} adds {seen[_BENT]:.4g} to its gradients along the watched weights, "
            f"its control variates are {due:.4g}"
        )


class FedDynLedger(Ledger):
    """Each gradient plus alpha (w - x) - h_i, where h_i = h_i - alpha u_i after each round."""

    def client(
        self, client: int, row: int, cohort: Cohort, state: ServerState, seen: Floats, update: float
    ) -> str | None:
        steps, alpha = cohort.steps[row], float(self.scenario.alpha_dyn)
        own = self.kept.get(client, 0.0)
        self.kept[client] = own + update
        due = alpha * (seen[_WAY] + steps * own)
        if not self.differs(seen[_BENT], due, seen[_GROWN] + alpha * steps * self._size):
            return None
        return (
            f"client {client} adds {seen[_BENT]:.4g} to its gradients along the watched weights, "
            f"its regulariser is {due:.4g}"
        )


class MomentumLedger(Ledger):
    """The update sent is (1 - beta) times the one trained plus beta times the one sent before."""

    mixes = True

    def client(
        self, client: int, row: int, cohort: Cohort, state: ServerState, seen: Floats, update: float
    ) -> str | None:
        beta, trained = float(self.scenario.beta), seen[_MOVED]
        before = self.kept.get(client)
        self.kept[client] = update
        due = trained if before is None else beta * before + (1 - beta) * trained
        if not self.differs(update, due, abs(trained) + abs(before or 0.0)):
            return None
        return (
            f"client {client} sends an update of {update:.4g} along the watched weights, its "
            f"momentum is {due:.4g}"
        )


def ledger_of(scenario: Scenario) -> Ledger | None:
    """The account that the clients of ``scenario`` are held to; None where they keep nothing."""
    known: dict[str, type[Any]] = {
        "scaffold": ScaffoldLedger,
        "feddyn": FedDynLedger,
        "clientmomentum": MomentumLedger,
    }
    for name in (scenario.parts.strategy.name, scenario.parts.optimizer.name):
        if name in known:
            ledger: Ledger = known[name](scenario)
            return ledger
    return None


def _along(values: torch.Tensor) -> float:
    return float(along(values[chosen(len(values))].cpu().numpy()))


def _size(values: torch.Tensor) -> float:
    return float(along(values.abs().cpu().numpy()))
