"""PreAggregation: a step in front of any strategy, which makes rows of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from fedcore.components.component import Component
from fedcore.components.kinds import PREAGGREGATIONS as PREAGGREGATIONS
from fedcore.exchange.cohort import Cohort

if TYPE_CHECKING:
    from fedcore.scenario import Scenario
    from fedcore.strategies.preaggregation.definitions import MixDefinition


class PreAggregation(Component):
    """Turns the updates of a cohort into the rows that the next step, or the strategy, sees.

    Parameters only are mixed: of float buffers and counters the clients' own go to the strategy's
    ``buffer_rule``, whatever stands in front of it. One object serves every run, and keeps nothing.

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

    def withstands(self, rows: int) -> int | None:
        """How many malicious ones among ``rows`` the step is told to expect; None: no number."""
        return None

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


def rows_given(link: PreAggregation, scenario: Scenario) -> int:
    """How many rows ``link`` is given in the chain of ``scenario``; the fewest of equal links."""
    rows, given = scenario.cohort_size, []
    for step in scenario.parts.preaggregation:
        if step == link:
            given.append(rows)
        rows = step.rows(rows)
    return min(given, default=rows)


def minority_problems(link: PreAggregation, f: int | None, scenario: Scenario) -> list[str]:
    """That ``f`` of the rows that ``link`` is given are no minority (2 f < rows), as a message."""
    rows = rows_given(link, scenario)
    if f is None or 2 * f < rows:
        return []
    size = scenario.cohort_size
    got = str(rows) if rows == size else f"{rows} of {size} clients"
    return [
        f"preaggregation {str(link)!r} needs rows > 2 f, got {got} <= 2 * {f}: "
        "enlarge the cohort (fraction_train * num_clients) or lower num_byzantine"
    ]
