"""clip: updates are clipped and not noised. It tells what clipping does from what noise does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.mechanism import PRIVACY, Mechanism, buffer_problems

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@PRIVACY.register(
    "clip",
    "clip without noise: the control that promises nothing",
    clip_norm=1.0,
    released="whole",
    buffers="frozen",
)
class Clip(Mechanism):
    """u' = min(1, C / ||u||) u. epsilon is infinite."""

    name = "clipping alone, no noise: no privacy"

    @classmethod
    def problems(cls, scenario: Scenario) -> list[str]:
        return buffer_problems(scenario)

    @property
    def sensitivity(self) -> float:
        """2 C."""
        return sensitivity("replace", self.clip_norm)

    @property
    def sigma(self) -> float:
        """No noise."""
        return 0.0
