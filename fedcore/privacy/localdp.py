"""localdp: clip each update, add Gaussian noise calibrated to what clipping promises."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from fedcore.privacy import parameters
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.gaussian import noise_multiplier
from fedcore.privacy.mechanism import PRIVACY, Mechanism
from fedcore.privacy.session import budget_problems, buffer_problems

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "localdp",
    "clip and noise on each client's update, analytic calibration (Balle & Wang 2018)",
)
class LocalDp(Mechanism):
    """u' = min(1, C / ||u||) u + N(0, sigma^2 I), sigma = z(epsilon, delta) * sensitivity.

    ``epsilon`` holds for one participation; a client's total grows with its participations.
    """

    auditable: ClassVar[bool] = True

    epsilon: float = parameters.epsilon()
    delta: float = parameters.delta()
    clip_norm: float = parameters.clip_norm()
    neighbours: str = parameters.neighbours()
    released: str = parameters.released()
    buffers: str = parameters.buffers()
    epsilon_budget: float | None = parameters.epsilon_budget()

    def problems(self, scenario: Scenario) -> list[str]:
        """A budget below one release, and batch statistics that nobody computes."""
        found = budget_problems(self.epsilon_budget, self.epsilon)
        return found + buffer_problems(scenario, self.buffers)

    @cached_property
    def distance(self) -> float:
        """2 C or C, by the neighbouring relation."""
        return sensitivity(self.neighbours, self.clip_norm)

    @cached_property
    def sigma(self) -> float:
        """The least that makes one release (epsilon, delta)-DP."""
        return noise_multiplier(self.epsilon, self.delta) * self.distance
