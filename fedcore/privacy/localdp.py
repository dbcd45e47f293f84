"""localdp: clip each update, add Gaussian noise calibrated to what clipping promises."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from fedcore.privacy.calibrated import CalibratedMechanism
from fedcore.privacy.mechanism import PRIVACY


@PRIVACY.register(
    "localdp",
    "clip and noise on each client's update, analytic calibration (Balle & Wang 2018)",
)
class LocalDp(CalibratedMechanism):
    """u' = min(1, C / ||u||) u + N(0, sigma^2 I), sigma = z(epsilon, delta) * sensitivity.

    ``epsilon`` holds for one participation; a client's total grows with its participations.
    """

    auditable: ClassVar[bool] = True

    @cached_property
    def sigma(self) -> float:
        """On each coordinate of a client's update: z times the sensitivity."""
        return self.multiplier * self.distance
