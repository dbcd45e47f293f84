"""What every registered component answers: which rules a scenario breaks that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class Component:
    """Base of partitioners, attacks, solvers, strategies, models and data sets.

    ``uses``: distributions, beside torch and numpy, whose version may change what it computes; of
    a component outside fedcore, those that its source imports count without being named here.
    """

    uses: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        """Preconditions that ``scenario`` breaks, each as a message; no data are at hand here."""
        return []
