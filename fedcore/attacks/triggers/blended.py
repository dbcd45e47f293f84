"""Blended: a fixed pattern of the size of the image, blended into it.

Chen, Liu, Li, Lu and Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data
Poisoning", 2017, eq. 1: weight * pattern + (1 - weight) * image. Their random pattern is drawn
from a uniform distribution over the levels, as it is here. They train with weights of 0.1 to 0.2.
"""

from __future__ import annotations

import numpy as np

from fedcore.attacks.attack import Images
from fedcore.attacks.trigger import TRIGGERS, Trigger
from fedcore.components.parameters import param


@TRIGGERS.register("blended", "a fixed random pattern blended in (Chen et al. 2017)")
class Blended(Trigger):
    """The pattern is one draw of ``np.random.default_rng(pattern_seed)``, in every run the same.

    It is ``integers(0, 256, (height, width, channels))``. Levels are computed in float64 and
    rounded to the nearest integer, halves to the even one.
    """

    weight: float = param(
        "share of the pattern", default=0.2, low=0, high=1, open_low=True, open_high=True
    )
    pattern_seed: int = param("seed of the pattern", default=0, low=0)

    def stamp(self, images: Images) -> Images:
        """The images as weight * pattern + (1 - weight) * image."""
        drawing = np.random.default_rng(self.pattern_seed)
        pattern = drawing.integers(0, 256, images.shape[1:]).astype(np.float64)
        # a table of the 256 levels: no images in float64 are made
        kept = (1 - self.weight) * np.arange(256.0)
        result = np.empty_like(images)
        for place, image in enumerate(images):
            result[place] = np.rint(self.weight * pattern + kept[image])
        return result
