"""One round as the identity check sees it, at a sample of its coordinates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.simulation.identity_sample import CHUNK, host
from fedcore.strategies.definitions import Floats, View
from fedcore.strategies.strategy import Strategy
from fedcore.streams import Generator

_PLAIN = 8  # rounding errors of a step beyond one for each client


@dataclass
class Look:
    """What was seen of a round before its step: ``places`` [s] and the values there.

    ``cohort`` and ``rows`` [K, s] are what the clients sent, ``given`` and ``given_rows`` what
    pre-aggregation made of it and the step was given; the same where there is none.
    """

    round: int
    places: torch.Tensor
    before: ServerState
    centre: torch.Tensor | None
    cohort: Cohort
    rows: Floats
    start: Floats
    visible: bool
    lot: float  # in [0, 1): which client's length is measured
    given: Cohort
    given_rows: Floats
    differs: bool = False  # from FedAvg's, says what has no definition

    def rounding(self, stop: Floats) -> Floats:
        """Of a step from ``start`` to ``stop`` in the type of the weights, [s]."""
        rounding = eps_of(self.before) * (np.abs(self.start) + np.abs(stop))
        tiny = torch.finfo(self.before.vector.dtype).tiny
        return np.asarray(rounding + (len(self.rows) + _PLAIN) * tiny)

    def view(
        self,
        strategy: Strategy,
        state: ServerState,
        stop: Floats,
        memory: dict[str, Floats],
        displacement: Callable[[int], Floats],
        chance: Callable[..., Generator],
    ) -> View:
        """What a definition sees of the step that led to ``state``, ``stop`` [s] at the places."""
        given, kind = self.given, torch.finfo(self.given.updates.dtype)
        device = given.updates.device
        view = View(
            strategy=strategy,
            rows=self.given_rows,
            samples=given.samples,
            steps=given.steps,
            normalizers=given.normalizers,
            memory=memory,
            noted=self.before.memory.noted,
            made=stop - self.start,
            rounding=self.rounding(stop),
            unit=unit_of(given),
            least=kind.tiny * kind.eps,
            largest=kind.max,
            distance=lambda client, step: self._distance(state, client, step),
            displacement=displacement,
            drawn=int(self.lot * len(self.given_rows)),
            places=self.places.cpu().numpy(),
            size=given.updates.shape[1],
            chance=chance,
            apart=self._apart,
            product=lambda one, other: self._product(state, one, other),
            at=lambda row, places: host(given.updates[row, torch.from_numpy(places).to(device)]),
            clients=given.clients,
            thorough=self.round == 1 or int(self.lot * 2**20) % 10 == 0,
        )
        if given is self.cohort:
            return view
        facts = {name: getattr(self.cohort, name) for name in ("samples", "steps", "normalizers")}
        drawn, unit = int(self.lot * len(self.rows)), unit_of(self.cohort)
        sent = dataclasses.replace(view, rows=self.rows, unit=unit, drawn=drawn, **facts)
        return dataclasses.replace(view, sent=sent)

    def _distance(self, state: ServerState, client: int, step: bool) -> float:
        """See `View.distance`; in chunks."""
        row, old, squares, hidden = self.given.updates[client], self.before.vector, 0.0, 0.0
        for start in range(0, len(row), CHUNK * 8):
            part = slice(start, min(start + CHUNK * 8, len(row)))
            gap = row[part].to(torch.float64, copy=True)
            if step:
                new = state.vector[part].double()
                gap.sub_(new - old[part])
                hidden += float(new.square().sum())
            elif self.centre is not None:
                gap.sub_(self.centre[part])
            squares += float(gap.square().sum())
        if not math.isfinite(squares):
            return math.inf
        if step and squares <= (1e3 * eps_of(state)) ** 2 * hidden:
            return math.nan
        return math.sqrt(squares)

    def _apart(self, one: int, other: int) -> float:
        """See `View.apart`; in chunks."""
        first, second, squares = self.given.updates[one], self.given.updates[other], 0.0
        for start in range(0, len(first), CHUNK * 8):
            part = slice(start, min(start + CHUNK * 8, len(first)))
            gap = first[part].to(torch.float64, copy=True).sub_(second[part])
            squares += float(gap.square().sum())
        return math.sqrt(squares) if math.isfinite(squares) else math.inf

    def _product(self, state: ServerState, one: int | str, other: int | str) -> float:
        """See `View.product`; in chunks."""
        first, second = (self._whole(state, which) for which in (one, other))
        if first is None or second is None:
            return math.nan
        total = 0.0
        for start in range(0, len(first), CHUNK * 8):
            part = slice(start, min(start + CHUNK * 8, len(first)))
            total += float(first[part].double() @ second[part].double())
        return total

    def _whole(self, state: ServerState, which: int | str) -> torch.Tensor | None:
        if isinstance(which, str):
            return state.memory.get(which)
        return self.given.root if which == -1 else self.given.updates[which]

    def alike(self, state: ServerState) -> bool:
        """Whether the step to ``state`` equals FedAvg's in all coordinates; in chunks."""
        cohort, before = self.cohort, self.before.vector
        weights = torch.tensor(cohort.samples, dtype=torch.float64, device=before.device)
        weights = weights / weights.sum()
        for start in range(0, cohort.updates.shape[1], CHUNK):
            rows = cohort.updates[:, start : start + CHUNK].double()
            part = slice(start, start + rows.shape[1])
            old, new = before[part].double(), state.vector[part].double()
            error = unit_of(cohort) * (weights @ rows.abs())
            error += eps_of(state) * (old.abs() + new.abs())
            if bool((~((new - old - weights @ rows).abs() <= error)).any()):
                return False
        return True


def eps_of(state: ServerState) -> float:
    """The relative rounding of the weights of ``state``."""
    return torch.finfo(state.vector.dtype).eps


def unit_of(cohort: Cohort) -> float:
    """The relative rounding of a sum of the updates of ``cohort``."""
    eps = torch.finfo(cohort.updates.dtype).eps
    if torch.get_float32_matmul_precision() != "highest":  # TF32, bfloat16
        eps = max(eps, 2**-7)
    return (len(cohort.updates) + _PLAIN) * eps
