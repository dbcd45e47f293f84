"""Clients that drop out and come back: who of a drawn cohort does not answer in a round.

Each client is present or absent, in spells: a Markov chain of its own over the rounds, whether it
is drawn or not, which begins in its long-run state. Where fewer than ``min_present`` of a cohort
would answer, the server waits for some of the absent ones, drawn at random. All of it follows from
the seed alone: a twin and all arms of a seed miss the same clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fedcore.scenario import Scenario
from fedcore.scenario.absent import transitions
from fedcore.streams import Purpose, stream


@dataclass(frozen=True)
class Absences:
    """Who is absent in a run of ``scenario`` with ``seed``."""

    scenario: Scenario
    seed: int
    _away: dict[int, npt.NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def of(self, round: int, drawn: tuple[int, ...]) -> tuple[int, ...]:
        """The clients of ``drawn`` that do not answer in ``round`` (from 1), ascending."""
        if self.scenario.absent_fraction is None:
            return ()
        absent = [client for client in drawn if self._chain(client)[round - 1]]
        missing = (self.scenario.min_present or 1) - (len(drawn) - len(absent))
        if missing > 0:
            order = stream(self.seed, Purpose.ABSENCES, round=round).permutation(len(absent))
            absent = [absent[place] for place in order[missing:]]
        return tuple(sorted(absent))

    def _chain(self, client: int) -> npt.NDArray[np.bool_]:
        """Whether ``client`` is absent, by round, [rounds]."""
        if client not in self._away:
            leaves, stays = transitions(self.scenario)
            generator = stream(self.seed, Purpose.ABSENCES, client=client)
            draws = generator.random(self.scenario.rounds)
            away = np.zeros(len(draws), np.bool_)
            limit = self.scenario.absent_fraction or 0.0  # of the first round
            for round, draw in enumerate(draws):
                away[round] = draw < limit
                limit = stays if away[round] else leaves
            self._away[client] = away
        return self._away[client]
