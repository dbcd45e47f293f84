"""localdp: clip each update, add Gaussian noise calibrated to what clipping promises."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from fedcore.components.registry import REQUIRED
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.gaussian import noise_multiplier
from fedcore.privacy.mechanism import PRIVACY, Mechanism, budget_problems, buffer_problems

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "localdp",
    "clip and noise on each client's update, analytic calibration (Balle & Wang 2018)",
    epsilon=REQUIRED,
    delta=1e-5,
    clip_norm=1.0,
    neighbours="replace",
    released="whole",
    buffers="frozen",
    epsilon_budget=None,
)
class LocalDp(Mechanism):
    """u' = min(1, C / ||u||) u + N(0, sigma^2 I), sigma = z(epsilon, delta) * sensitivity.

    ``epsilon`` holds for one participation; a client's total grows with its participations.
    """

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        return budget_problems(scenario, scenario.epsilon) + buffer_problems(scenario)

    @cached_property
    def sensitivity(self) -> float:
        """2 C or C, by the neighbouring relation."""
        return sensitivity(self.scenario.neighbours or "replace", self.clip_norm)

    @cached_property
    def sigma(self) -> float:
        """The least that makes one release (epsilon, delta)-DP."""
        assert self.scenario.epsilon is not None
        assert self.delta is not None
        return noise_multiplier(self.scenario.epsilon, self.delta) * self.sensitivity
