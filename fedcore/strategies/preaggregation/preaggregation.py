"""PreAggregation: a step in front of any strategy, which makes rows of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore.components.component import Component
from fedcore.components.kinds import PREAGGREGATIONS as PREAGGREGATIONS
from fedcore.exchange.cohort import Cohort

if TYPE_CHECKING:
    from fedcore.strategies.preaggregation.definitions import MixDefinition


class PreAggregation(Component):
    """Turns the updates of a cohort into the rows that the next step, or the strategy, sees.

    Parameters only are mixed: float buffers and counters are averaged over the clients themselves,
    whatever stands in front of a strategy. One object serves every run, and keeps nothing.

    ``definition`` is what the identity check holds every mix to. It is not inherited; a class
    without one says when it `must_differ`. ``keeps_clients`` says that row i still is the work of
    client i alone, so that what is known of that work (FedNova's normalizers) still holds.
    ``may_ignore_clients``: clients may be in no row, who then leave no trace in the model.
    """

    kind: ClassVar[str] = "preaggregation"
    keeps_clients: ClassVar[bool] = False
    may_ignore_clients: ClassVar[bool] = False
    definition: ClassVar[MixDefinition | None] = None

    def rows(self, clients: int) -> int:
        """How many rows are made of those of ``clients`` (at least 1)."""
        return clients

    @abstractmethod
    def mix(
        self, updates: torch.Tensor, cohort: Cohort, generator: torch.Generator
    ) -> tuple[torch.Tensor, Cohort]:
        """Make rows of rows: the new ones [R, P], and the cohort with facts of R clients.

        ``updates`` [K, P] are left as they are. ``cohort`` gives the facts of each row; where rows
        are made of several, ``samples`` and ``steps`` are sums, and a normalizer is None. On the
        CPU ``generator`` is the only source of chance: it is of the run, the round and the place
        in the chain.
        """

    def must_differ(self, cohort: Cohort) -> bool:
        """Whether this round's mix rules out that the step is FedAvg's of ``cohort``.

        Asked of classes without a ``definition`` only; ``cohort`` is what the mix is given.
        """
        return False
