"""Identity check: an arm whose steps are not those of its definition is not what it is named after.

Every round is looked at on a sample of coordinates that is drawn anew, which costs far less than
the step itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.records.record import Identity
from fedcore.simulation.cohort_check import CohortCheck
from fedcore.simulation.identity_sample import CHUNK, Sample, columns, disagreement, host, visible
from fedcore.simulation.suspects import FEDAVGS, suspect
from fedcore.strategies.definitions import Definition, Expected, Flags, Floats, View, unit_gradient
from fedcore.strategies.strategy import Strategy
from fedcore.streams import Purpose, stream

_PLAIN = 8  # rounding errors of a step beyond one for each client


@dataclass
class _Look:
    """What was seen of a round before its step: ``places`` [s] and the values there."""

    round: int
    places: torch.Tensor
    before: ServerState
    centre: torch.Tensor | None
    cohort: Cohort
    rows: Floats
    start: Floats
    visible: bool
    lot: float  # in [0, 1): which client's length is measured


class IdentityCheck:
    """Holds each round's step to the strategy's definition, and counts where that is not FedAvg's.

    A step of K clients agrees with its definition within (K + 8) eps times the sum of the sizes of
    its terms, plus eps times the weights that it is added to, in every coordinate of the sample;
    eps is that of the type of the updates. No difference beyond this rounding is excused, in any
    round. A round *must differ* from FedAvg's where the two definitions are further apart than
    three times the rounding of both; where clients differ by less than 16 times the rounding,
    nothing can be told, and the round does not count as checked. Where the sample shows no
    difference between clients, coordinates that do are looked for in all of them.

    ``told`` checks what cohorts say of their clients. The model that a step led to must be the one
    that the next starts from, and the last. ``spans`` are (offset, size) of the model's tensors:
    half of a sample lies in four of them, drawn anew, so that small ones are looked at, too.
    """

    def __init__(
        self,
        strategy: Strategy,
        seed: int = 0,
        spans: Sequence[tuple[int, int]] = (),
        told: CohortCheck | None = None,
    ) -> None:
        self.strategy, self._told = strategy, told
        self._sample = Sample(stream(seed, Purpose.IDENTITY_SAMPLE), spans)
        self.definition: Definition | None = vars(type(strategy)).get("definition")
        self._places: torch.Tensor | None = None
        self._memory: dict[str, Floats] = {}
        self._displacement: Floats = np.empty(0)
        self._look: _Look | None = None
        self._left: tuple[torch.Tensor, Floats] | None = None
        self._checked = self._due = self._differing = self._unequal = 0
        self._wrong: list[int] = []
        self._reason = ""

    def before(self, state: ServerState, cohort: Cohort, num_parameters: int, round: int) -> None:
        """Note what the step of ``round`` starts from; call `after` once it is made and finite."""
        state.memory.noted = self._look = None
        self._unequal += len(set(cohort.steps)) > 1
        self.kept(state, round)
        if self._told is not None and (odd := self._told.problem(cohort, state, num_parameters)):
            self._blame(round, odd)
        if num_parameters == 0 or cohort.updates.shape[1] == 0:
            return
        cohort = cohort.restricted(num_parameters)
        if self.definition is None and not self.strategy.must_differ(cohort, state.memory):
            return
        if self._places is None:
            self._places = self._sample.draw(num_parameters)
        places = self._places.to(state.vector.device)
        rows, start = columns(cohort.updates, places), host(state.vector[places])
        eps, unit = self._eps(state), self._unit(cohort)
        apart = visible(rows, start, eps, unit)
        if not apart:
            places = disagreement(cohort.updates, state.vector, eps, unit)
            if apart := len(places) > 0:
                rows, start = columns(cohort.updates, places), host(state.vector[places])
                self._memory = {key: host(state.memory[key][places]) for key in self._memory}
            else:
                places = self._places.to(state.vector.device)
        centre = state.memory.get("centre")
        self._look = _Look(
            round, places, state, centre, cohort, rows, start, apart, self._sample.lot
        )

    def after(self, state: ServerState) -> None:
        """Judge the step that led to ``state``, whose numbers are finite."""
        look, self._look = self._look, None
        if look is None:
            return
        stop = host(state.vector[look.places])
        self._left = look.places, stop
        rounding = self._eps(state) * (np.abs(look.start) + np.abs(stop))
        rounding += (len(look.rows) + _PLAIN) * torch.finfo(state.vector.dtype).tiny
        view = self._view(look, state, stop - look.start, rounding)
        with np.errstate(all="ignore"):
            if self.definition is None:
                self._differ(look, state, view, rounding)
                return
            expected = self.definition.function(view)
            self._judge(look, view, expected, rounding)
            self._remember(look, state, expected)

    def kept(self, state: ServerState, round: int) -> None:
        """Judge whether ``state``, before ``round`` or at the end, is what the last step led to."""
        left, self._left = self._left, None
        if left is not None and not np.array_equal(host(state.vector[left[0]]), left[1]):
            self._blame(round - 1, "the model is another than the one that its step led to")

    def _judge(self, look: _Look, view: View, expected: Expected, rounding: Floats) -> None:
        self._checked += look.visible
        known = np.isfinite(expected.error) & ~(np.isnan(expected.step) & np.isnan(view.mean.step))
        tolerance = expected.error + rounding
        wrong = ~(np.abs(view.made - expected.step) <= tolerance) & known
        plain = view.mean
        apart = ~(np.abs(expected.step - plain.step) <= 3 * (tolerance + plain.error)) & known
        if apart.any():
            self._due += 1
            self._differing += _differs(view, rounding)
        if not wrong.any() and expected.problem is None:
            return
        self._blame(look.round, self._explained(view, expected, rounding, wrong))

    def _explained(self, view: View, expected: Expected, rounding: Floats, wrong: Flags) -> str:
        assert self.definition is not None
        name = self.strategy.scenario.strategy
        text = f"strategy {name!r} does not step by {self.definition.what}: "
        reasons = [] if expected.problem is None else [expected.problem]
        usual = suspect(view, expected, rounding, self.definition if wrong.any() else None)
        if usual == FEDAVGS:
            text = f"an arm named {name!r} equals {usual}, and does not step by "
            return "; ".join([text + self.definition.what, *reasons])
        if usual is not None:
            reasons.insert(0, f"it equals {usual}")
        elif wrong.any():
            gap, size = np.abs(view.made - expected.step)[wrong], np.abs(expected.step).max()
            text += (
                f"it is off by up to {gap.max():.3g}, where {size:.3g} is the greatest coordinate"
            )
            text += "; " * bool(reasons)
        return text + "; ".join(reasons)

    def _differ(self, look: _Look, state: ServerState, view: View, rounding: Floats) -> None:
        """Judge a step of which no more is known than that it must differ from FedAvg's."""
        self._places = self._sample.draw(look.cohort.updates.shape[1])
        if not look.visible:
            return
        self._checked += 1
        self._due += 1
        if _differs(view, rounding) or not self._alike(look, state):
            self._differing += 1
            return
        name = self.strategy.scenario.strategy
        self._blame(look.round, f"an arm named {name!r} equals FedAvg's where it must not")

    def _blame(self, round: int, reason: str) -> None:
        self._wrong.append(round)
        self._reason = self._reason or reason

    def _remember(self, look: _Look, state: ServerState, expected: Expected) -> None:
        """Check the server's memory where the step was, and note it where the next one will be."""
        self._places = self._sample.draw(look.cohort.updates.shape[1])
        places = self._places.to(state.vector.device)
        name, self._memory = self.strategy.scenario.strategy, {}
        for key, (value, error) in expected.memory.items():
            kept = state.memory.get(key)
            if kept is None or kept.shape != (look.cohort.updates.shape[1],):
                self._blame(look.round, f"strategy {name!r} keeps no {key!r} between rounds")
                continue
            gap = np.abs(host(kept[look.places]) - value)
            if (~(gap <= error + 1e-37) & np.isfinite(error) & np.isfinite(value)).any():
                text = f"strategy {name!r} keeps another {key!r} between rounds than it steps by"
                self._blame(look.round, f"{text}: off by up to {gap.max():.3g}")
            self._memory[key] = host(kept[places])

    def verdict(self) -> Identity:
        """What was seen over the run.

        Raises IdentityError where the step of any round is not that of the definition, or equals
        FedAvg's where it must not.
        """
        if self._wrong:
            raise IdentityError(
                f"{self._reason}: in {len(set(self._wrong))} of the {self._checked} rounds that "
                f"could be checked, first in round {self._wrong[0]} ({self._unequal} had unequal "
                "work); the arm is not what its name says"
            )
        return Identity(self._due, self._differing, self._unequal, self._checked)

    def _alike(self, look: _Look, state: ServerState) -> bool:
        """Whether the step equals FedAvg's in all coordinates; in chunks."""
        cohort, before = look.cohort, look.before.vector
        weights = torch.tensor(cohort.samples, dtype=torch.float64, device=before.device)
        weights = weights / weights.sum()
        for start in range(0, cohort.updates.shape[1], CHUNK):
            rows = cohort.updates[:, start : start + CHUNK].double()
            part = slice(start, start + rows.shape[1])
            old, new = before[part].double(), state.vector[part].double()
            error = self._unit(cohort) * (weights @ rows.abs())
            error += self._eps(state) * (old.abs() + new.abs())
            if bool((~((new - old - weights @ rows).abs() <= error)).any()):
                return False
        return True

    def _view(self, look: _Look, state: ServerState, made: Floats, rounding: Floats) -> View:
        cohort, kind = look.cohort, torch.finfo(look.cohort.updates.dtype)
        return View(
            scenario=self.strategy.scenario,
            rows=look.rows,
            samples=cohort.samples,
            steps=cohort.steps,
            normalizers=cohort.normalizers,
            memory=self._memory,
            noted=look.before.memory.noted,
            made=made,
            rounding=rounding,
            unit=self._unit(cohort),
            least=kind.tiny * kind.eps,
            largest=kind.max,
            distance=lambda client, step: self._distance(look, state, client, step),
            displacement=self._displaced,
            drawn=int(look.lot * len(look.rows)),
        )

    def _distance(self, look: _Look, state: ServerState, client: int, step: bool) -> float:
        """See `View.distance`; in chunks."""
        row, old, squares, hidden = look.cohort.updates[client], look.before.vector, 0.0, 0.0
        for start in range(0, len(row), CHUNK * 8):
            part = slice(start, min(start + CHUNK * 8, len(row)))
            gap = row[part].to(torch.float64, copy=True)
            if step:
                new = state.vector[part].double()
                gap.sub_(new - old[part])
                hidden += float(new.square().sum())
            elif look.centre is not None:
                gap.sub_(look.centre[part])
            squares += float(gap.square().sum())
        if not math.isfinite(squares):
            return math.inf
        if step and squares <= (1e3 * self._eps(state)) ** 2 * hidden:
            return math.nan
        return math.sqrt(squares)

    def _displaced(self, steps: int) -> Floats:
        if len(self._displacement) < steps:
            self._displacement = unit_gradient(self.strategy.scenario, 2 * steps)
        return self._displacement

    @staticmethod
    def _eps(state: ServerState) -> float:
        return torch.finfo(state.vector.dtype).eps

    @staticmethod
    def _unit(cohort: Cohort) -> float:
        eps = torch.finfo(cohort.updates.dtype).eps
        if torch.get_float32_matmul_precision() != "highest":  # TF32, bfloat16
            eps = max(eps, 2**-7)
        return (len(cohort.updates) + _PLAIN) * eps


def _differs(view: View, rounding: Floats) -> bool:
    """Whether the step made is not FedAvg's, beyond the rounding of both."""
    plain = view.mean
    return bool((~(np.abs(view.made - plain.step) <= plain.error + rounding)).any())
