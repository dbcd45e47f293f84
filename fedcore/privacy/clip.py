"""clip: updates are clipped and not noised. It tells what clipping does from what noise does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedcore.privacy import parameters
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.mechanism import PRIVACY, Mechanism
from fedcore.privacy.session import buffer_problems

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "clip",
    "clip without noise: the control that promises nothing",
)
class Clip(Mechanism):
    """u' = min(1, C / ||u||) u. epsilon is infinite."""

    noise_parameters: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "clipping alone, no noise: no privacy"

    clip_norm: float = parameters.clip_norm()
    released: str = parameters.released()
    buffers: str = parameters.buffers()

    def problems(self, scenario: Scenario) -> list[str]:
        """Batch statistics that nobody computes."""
        return buffer_problems(scenario, self.buffers)

    @property
    def distance(self) -> float:
        """2 C."""
        return sensitivity("replace", self.clip_norm)

    @property
    def sigma(self) -> float:
        """No noise."""
        return 0.0
