"""Whether what a cohort says of its clients is what they were dealt, and what they were seen to do.

The identity check holds a step to the facts that it is given: with other facts, or other updates,
a mean would be the mean of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fedcore.engine.solverlog import along, chosen
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.evidence import FIELDS
from fedcore.exchange.fingerprints import of_bits
from fedcore.simulation.client_ledger import ledger_of

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_MOVED: Final = FIELDS.index("moved")
_ROUNDING: Final = 1e-5  # of an update, as a share of it


class CohortCheck:
    """Compares cohorts with ``samples`` of all clients and their steps, and with evidence.

    ``steps_of`` gives the local steps of a client in a round.
    A cohort without evidence is not compared. Updates are only where clients send what they
    trained: privacy and Flower's mods change that, FedBN's clients keep some of it.
    """

    def __init__(
        self,
        scenario: Scenario,
        samples: Sequence[int],
        steps_of: Callable[[int, int], int],
    ) -> None:
        self._samples, self._steps_of = samples, steps_of
        keeps = scenario.parts.strategy.keeps_batch_norm
        self._sends_all = scenario.privacy is None and scenario.client_mods is None and not keeps
        self._ledger = ledger_of(scenario)

    def problem(
        self, cohort: Cohort, state: ServerState, num_parameters: int, round: int
    ) -> str | None:
        """What ``cohort``, trained from ``state`` in ``round``, says wrongly; None: nothing."""
        if cohort.noted is None or not cohort.clients:
            return None
        samples = [self._samples[client] for client in cohort.clients]
        steps = [self._steps_of(client, round) for client in cohort.clients]
        for what, told, known in (
            ("samples", cohort.samples, samples),
            ("local steps", cohort.steps, steps),
        ):
            for client, says, has in zip(cohort.clients, told, known, strict=True):
                if says != has:
                    return f"client {client} counts as one of {says} {what}, has {has}"
        if self._ledger is not None and num_parameters:
            odd = self._ledger.problem(cohort, state, num_parameters)
            if odd is not None or self._ledger.mixes:
                return odd
        return self._moved(cohort, state, num_parameters) if self._sends_all else None

    def _moved(self, cohort: Cohort, state: ServerState, num_parameters: int) -> str | None:
        """That an update is not the way that a client's weights went, as far as was watched."""
        assert cohort.noted is not None
        seen = of_bits(cohort.noted[:, _MOVED])
        rows = np.flatnonzero(np.isfinite(seen))
        if not len(rows) or not num_parameters:
            return None
        where = chosen(num_parameters)
        updates = cohort.updates[:, :num_parameters][:, where].cpu().numpy()[rows]
        weights = state.vector[:num_parameters][where].cpu().numpy()
        eps = torch.finfo(cohort.updates.dtype).eps
        error = _ROUNDING * along(np.abs(updates)) + 4 * eps * along(np.abs(weights))
        off = np.abs(along(updates) - seen[rows]) > error
        if not off.any():
            return None
        first = rows[int(off.argmax())]
        return f"the update of client {cohort.clients[first]} is not the way that it trained"
