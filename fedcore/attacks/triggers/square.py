"""Square: a patch of one brightness in a corner of the image.

Gu, Dolan-Gavitt and Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model
Supply Chain", 2017.
"""

from __future__ import annotations

from fedcore.attacks.attack import Images
from fedcore.attacks.trigger import TRIGGERS, Trigger
from fedcore.components.parameters import param

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@TRIGGERS.register("square", "a square of one brightness in a corner (Gu et al. 2017)")
class Square(Trigger):
    """``size`` pixels a side, all channels at ``level``, without a margin."""

    size: int = param("pixels a side", default=3, low=1)
    at: str = param("corner", default="bottom-right", choices=CORNERS)
    level: int = param("brightness of all channels", default=255, low=0, high=255)

    def stamp(self, images: Images) -> Images:
        """The corner's pixels set to ``level``."""
        edge, side = self.at.split("-")
        rows = slice(None, self.size) if edge == "top" else slice(-self.size, None)
        columns = slice(None, self.size) if side == "left" else slice(-self.size, None)
        result = images.copy()
        result[:, rows, columns] = self.level
        return result

    def data_problems(self, shape: tuple[int, int, int]) -> list[str]:
        """A square that is larger than the images."""
        height, width, _ = shape
        if self.size <= min(height, width):
            return []
        return [f"trigger square needs size <= the images' {height}x{width}, got size={self.size}"]
