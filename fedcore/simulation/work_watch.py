"""Attacks within local steps, seen from the server: what clients are told, and what they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import work_in_steps
from fedcore.exchange.worked import LAST, WorkAudit, WorkLog

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.federation.federation import Federation


class WorkWatch:
    """Notes the work of the malicious clients of a run; does nothing where none is within steps."""

    def __init__(self, federation: Federation, layout: Layout, device: torch.device) -> None:
        scenario = federation.scenario
        work, self._threat = work_in_steps(scenario), federation.threat
        self._size, self._log = layout.num_parameters, None
        self._masks = work is not None and work.masked > 0
        if work is not None:
            keeps = scenario.parts.strategy.keeps_batch_norm
            own = layout.batch_norm_indices().to(device) if keeps else None
            malicious: Sequence[int] = self._threat.malicious.tolist()
            self._log = WorkLog(malicious, work.masked, self._size, own)

    def trained(self, round: int, cohort: Cohort) -> None:
        """Note what ``cohort`` trained in ``round``, before anything is done to it."""
        if self._log is not None and self._threat.acts(round):
            self._log.trained(cohort)

    def moved(self, before: ServerState, after: ServerState) -> None:
        """Note the server's step, which clients are told with the next model where they mask."""
        if self._log is not None:
            self._log.moved(before.vector, after.vector)
        if self._masks:
            after.memory[LAST] = after.vector[: self._size] - before.vector[: self._size]

    def audits(self) -> tuple[WorkAudit, ...]:
        """What was noted, by client."""
        return () if self._log is None else self._log.audits()
