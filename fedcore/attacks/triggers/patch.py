"""Patch: a square of one colour at any place of the image.

Gu, Dolan-Gavitt and Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model
Supply Chain", 2017, whose yellow square on traffic signs is one of these.
"""

from __future__ import annotations

import numpy as np

from fedcore.attacks.attack import Images
from fedcore.attacks.trigger import TRIGGERS, Trigger
from fedcore.components.parameters import param


@TRIGGERS.register("patch", "a square of one colour at any place (Gu et al. 2017)")
class Patch(Trigger):
    """``size`` pixels a side, of which the upper left one lies in ``row`` and ``column``, from 0.

    ``color`` is the level of each channel, or one level for all channels.
    """

    size: int = param("pixels a side", default=3, low=1)
    row: int = param("row of its upper edge, from 0", default=0, low=0)
    column: int = param("column of its left edge, from 0", default=0, low=0)
    color: tuple[int, ...] = param(
        "level of each channel; one: of all", default=(255,), low=0, high=255
    )

    def stamp(self, images: Images) -> Images:
        """The square's pixels set to ``color``."""
        rows = slice(self.row, self.row + self.size)
        columns = slice(self.column, self.column + self.size)
        result = images.copy()
        result[:, rows, columns] = np.array(self.color, np.uint8)
        return result

    def data_problems(self, shape: tuple[int, int, int]) -> list[str]:
        """A square that does not lie within the images, a color of other channels than theirs."""
        height, width, channels = shape
        problems = []
        if self.row + self.size > height or self.column + self.size > width:
            problems.append(
                "trigger patch needs row + size and column + size <= the images' "
                f"{height}x{width}, got row={self.row}, column={self.column}, size={self.size}"
            )
        if len(self.color) not in (1, channels):
            problems.append(
                f"trigger patch needs a color of 1 or of the images' {channels} levels, got "
                f"color={self.color}"
            )
        return problems
