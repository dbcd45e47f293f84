"""What mechanisms share whose noise is calibrated to the (epsilon, delta) of one participation."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fedcore.privacy import parameters
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.gaussian import noise_multiplier
from fedcore.privacy.mechanism import Mechanism
from fedcore.privacy.session import budget_problems, buffer_problems

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class CalibratedMechanism(Mechanism):
    """A mechanism that clips to ``clip_norm`` and adds the least Gaussian noise for its claim.

    Subclasses say by ``sigma`` on what the noise lies.
    """

    epsilon: float = parameters.epsilon()
    delta: float = parameters.delta()
    clip_norm: float = parameters.clip_norm()
    neighbours: str = parameters.neighbours()
    released: str = parameters.released()
    buffers: str = parameters.buffers()
    epsilon_budget: float | None = parameters.epsilon_budget()

    def problems(self, scenario: Scenario) -> list[str]:
        """A budget below one release, and batch statistics that nobody computes."""
        return [
            *budget_problems(self.epsilon_budget, self.epsilon),
            *buffer_problems(scenario, self.buffers),
        ]

    @cached_property
    def multiplier(self) -> float:
        """z: sigma over sensitivity, the least that makes one release (epsilon, delta)-DP."""
        return noise_multiplier(self.epsilon, self.delta)

    @cached_property
    def distance(self) -> float:
        """2 C or C, by the neighbouring relation: of a client's clipped update."""
        return sensitivity(self.neighbours, self.clip_norm)
