"""Identity check: an arm whose steps are not those of its definition is not what it is named after.

Every round is looked at on a sample of coordinates that is drawn anew, which costs far less than
the step itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.records.record import Identity
from fedcore.simulation.cohort_check import CohortCheck
from fedcore.simulation.identity_buffers import BufferCheck
from fedcore.simulation.identity_chain import ChainCheck
from fedcore.simulation.identity_look import Look, eps_of, unit_of
from fedcore.simulation.identity_sample import Sample, columns, disagreement, host, visible
from fedcore.simulation.suspects import FEDAVGS, suspect
from fedcore.simulation.write_check import WriteCheck
from fedcore.strategies.aggregation import Aggregation
from fedcore.strategies.definitions import Definition, Expected, Flags, Floats, View, unit_gradient
from fedcore.strategies.preaggregation.preaggregation import PreAggregation
from fedcore.streams import Generator, Purpose, stream

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


_WRITES = "writes into the updates that it is given: let it make a tensor of its own"


class IdentityCheck:
    """Holds each round's step to the strategy's definition, and counts where that is not FedAvg's.

    A step of K clients agrees with its definition within (K + 8) eps times the sum of the sizes of
    its terms, plus eps times the weights that it is added to, in every coordinate of the sample;
    eps is that of the type of the updates. No difference beyond this rounding is excused, in any
    round. A round *must differ* from FedAvg's where the two definitions are further apart than
    three times the rounding of both; where clients differ by less than 16 times the rounding,
    nothing can be told, and the round does not count as checked. Where the sample shows no
    difference between clients, coordinates that do are looked for in all of them.

    Behind pre-aggregation the definition is that of the strategy on the rows that were made, each
    link of the chain is held to its own (`ChainCheck`), and FedAvg's step is that on what was sent.

    Buffers and counters are held to the strategy's rule (`BufferCheck`), updates to what they were
    before the step, whether there is a definition or none (`WriteCheck`). The solver of
    ``scenario`` says how far local steps go. ``told`` checks what cohorts say of their clients. The
    model that a step led to must be the one that the next starts from, and the last. ``spans`` are
    (offset, size) of the model's tensors: half of a sample lies in four of them, drawn anew, so
    that small ones are looked at, too.
    """

    def __init__(
        self,
        server: Aggregation,
        scenario: Scenario,
        spans: Sequence[tuple[int, int]] = (),
        told: CohortCheck | None = None,
    ) -> None:
        self.strategy, self._scenario, self._told = server.strategy, scenario, told
        self._seed = server.seed
        self._population = None if server.clients is None else scenario.num_clients
        self._sample = Sample(stream(server.seed, Purpose.IDENTITY_SAMPLE), spans)
        # a step that is tried without a run knows of its rows alone
        self._population = None if server.clients is None else scenario.num_clients
        self.definition: Definition | None = vars(type(self.strategy)).get("definition")
        self._chain = ChainCheck(server)
        self._buffers = BufferCheck(
            stream(server.seed, Purpose.IDENTITY_SAMPLE, client=0), self.strategy.buffer_rule
        )
        self._writes = WriteCheck()
        self._round = 0
        self._places: torch.Tensor | None = None
        self._memory: dict[str, Floats] = {}
        self._displacement: Floats = np.empty(0)
        self._look: Look | None = None
        self._left: tuple[torch.Tensor, Floats] | None = None
        self._checked = self._due = self._differing = 0
        self._wrong: list[int] = []
        self._reason = ""

    def before(
        self,
        state: ServerState,
        cohort: Cohort,
        num_parameters: int,
        round: int,
        honest: Cohort | None = None,
    ) -> None:
        """Note what the step of ``round`` starts from; call `after` once it is made and finite.

        Between the two, `mixed` sees what each link of a chain makes. ``honest`` is the cohort
        before attacks and privacy, which is held to what was seen of its training (None:
        ``cohort``).
        """
        state.memory.noted = self._look = None
        self._round = round
        self.kept(state, round)
        if self._told is not None and (
            odd := self._told.problem(honest or cohort, state, num_parameters, round)
        ):
            self._blame(round, odd)
        if not self.strategy.foreign:
            self._buffers.before(state, cohort, num_parameters)
        if num_parameters == 0 or cohort.updates.shape[1] == 0:
            return
        cohort = cohort.restricted(num_parameters)
        if self._places is None:
            self._places = self._sample.draw(num_parameters)
        places = self._places.to(state.vector.device)
        rows = columns(cohort.updates, places)
        self._writes.before(cohort.updates, places, rows)
        differs = not self._chain and self._must_differ(cohort, state)
        if self.definition is None and not self._chain and not differs:
            self._places = None
            return
        start = host(state.vector[places])
        eps, unit = eps_of(state), unit_of(cohort)
        apart = visible(rows, start, eps, unit)
        if not apart:
            places = disagreement(cohort.updates, state.vector, eps, unit)
            if apart := len(places) > 0:
                rows, start = columns(cohort.updates, places), host(state.vector[places])
                self._memory = {key: host(state.memory[key][places]) for key in self._memory}
            else:
                places = self._places.to(state.vector.device)
        self._writes.before(cohort.updates, places, rows)
        centre, lot = state.memory.get("centre"), self._sample.lot
        self._look = Look(
            round, places, state, centre, cohort, rows, start, apart, lot, cohort, rows, differs
        )
        self._chain.begin(round, cohort, rows, places, lot)

    def mixed(self, rows: Cohort) -> None:
        """Judge what the next link of the chain has made of the round's updates."""
        look = self._look
        if look is None:
            return
        link = self._chain.link
        if self._writes.written(last=False):
            self._blame(look.round, f"pre-aggregation {_named(link)!r} {_WRITES}")
        if self._chain.definition is None:
            look.differs |= link.must_differ(look.given)
        if (problem := self._chain.see(rows)) is not None:
            self._blame(look.round, problem)
        look.given, look.given_rows = rows, self._chain.rows
        if self._chain.complete:
            look.differs |= self._must_differ(rows, look.before)

    def _must_differ(self, cohort: Cohort, state: ServerState) -> bool:
        return self.definition is None and self.strategy.must_differ(cohort, state.memory)

    def after(self, state: ServerState) -> None:
        """Judge the step that led to ``state``, whose numbers are finite."""
        if (odd := self._buffers.after(state)) is not None:
            self._blame(self._round, f"strategy {self._named!r} {odd}")
        look, self._look = self._look, None
        if look is not None:
            self._step(look, state)
        if self._writes.written():
            self._blame(self._round, f"strategy {self._named!r} {_WRITES}")

    def _step(self, look: Look, state: ServerState) -> None:
        stop = host(state.vector[look.places])
        self._left = look.places, stop

        def chance(part: int = -1) -> Generator:
            return stream(self._seed, Purpose.SERVER_CHANCE, round=look.round, client=part)

        view = look.view(self.strategy, state, stop, self._memory, self._displaced, chance)
        view = dataclasses.replace(view, population=self._population)
        if not self._chain.complete:
            self._blame(look.round, f"pre-aggregation {_named(self._chain.link)!r} was left out")
        with np.errstate(all="ignore"):
            expected = None if self.definition is None else self.definition.function(view)
            self._judge(look, state, view, expected)
            self._remember(look, state, {} if expected is None else expected.memory)

    def kept(self, state: ServerState, round: int) -> None:
        """Judge whether ``state``, before ``round`` or at the end, is what the last step led to."""
        left, self._left = self._left, None
        if left is not None and not np.array_equal(host(state.vector[left[0]]), left[1]):
            self._blame(round - 1, "the model is another than the one that its step led to")

    def _judge(self, look: Look, state: ServerState, view: View, expected: Expected | None) -> None:
        self._checked += look.visible and (expected is not None or look.differs)
        due = look.differs and look.visible
        wrong = np.zeros(len(view.made), dtype=np.bool_)
        if expected is not None:
            rows = np.isnan(expected.step) & np.isnan(view.mean.step)
            known = np.isfinite(expected.error) & ~rows
            tolerance = expected.error + view.rounding
            wrong = ~(np.abs(view.made - expected.step) <= tolerance) & known
            gap, plain = np.abs(expected.step - view.plain.step), view.plain.error
            due |= bool((~(gap <= 3 * (tolerance + plain)) & known).any())
        if due:
            self._due += 1
            differs = _differs(view) or (look.differs and not look.alike(state))
            self._differing += differs
            if look.differs and not differs:
                text = f"an arm named {self._named!r} equals FedAvg's where it must not"
                self._blame(look.round, text)
        if expected is not None and (wrong.any() or expected.problem is not None):
            self._blame(look.round, self._explained(view, expected, wrong))

    @property
    def _named(self) -> str:
        return self.strategy.name or type(self.strategy).__name__

    def _explained(self, view: View, expected: Expected, wrong: Flags) -> str:
        assert self.definition is not None
        name = self._named
        text = f"strategy {name!r} does not step by {self.definition.what}: "
        reasons = [] if expected.problem is None else [expected.problem]
        usual = suspect(view, expected, view.rounding, self.definition if wrong.any() else None)
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

    def _blame(self, round: int, reason: str) -> None:
        self._wrong.append(round)
        self._reason = self._reason or reason

    def _remember(
        self, look: Look, state: ServerState, due: Mapping[str, tuple[Floats, Floats]]
    ) -> None:
        """Check the server's memory where the step was, and note it where the next one will be."""
        self._places = self._sample.draw(look.cohort.updates.shape[1])
        places = self._places.to(state.vector.device)
        name, self._memory = self._named, {}
        for key, (value, error) in due.items():
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
            wrong = len(set(self._wrong))
            raise IdentityError(
                f"{self._reason}: in {wrong} of the {max(wrong, self._checked)} rounds that "
                f"could be checked, first in round {self._wrong[0]}; "
                "the arm is not what its name says"
            )
        return Identity(self._due, self._differing, self._checked)

    def _displaced(self, steps: int) -> Floats:
        if len(self._displacement) < steps:
            self._displacement = unit_gradient(self._scenario, 2 * steps)
        return self._displacement


def _named(link: PreAggregation) -> str:
    return str(link) or type(link).__name__


def _differs(view: View) -> bool:
    """Whether the step made is not FedAvg's, beyond the rounding of both."""
    plain = view.plain
    return bool((~(np.abs(view.made - plain.step) <= plain.error + view.rounding)).any())
