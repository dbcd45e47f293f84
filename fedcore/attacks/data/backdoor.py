"""Backdoor: images that carry a trigger are labelled as the target class.

Gu, Dolan-Gavitt and Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model
Supply Chain", 2017. Poisoned are copies of training images of other classes than the target; the
originals that they stand for are not trained on.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import ATTACKS, DataAttack, Draw, Samples
from fedcore.attacks.trigger import Trigger
from fedcore.attacks.triggers.square import Square
from fedcore.components.parameters import param
from fedcore.streams import Indices


@ATTACKS.register("backdoor", "images with a trigger labelled as target (Gu et al. 2017)")
class Backdoor(DataAttack):
    """Success is a test image of another class that, with the trigger, is taken for the target."""

    changes_images: ClassVar[bool] = True
    named: ClassVar[tuple[str, ...]] = ("target",)
    target: int = param("class that a triggered image is to be taken for", default=0, low=0)
    trigger: Trigger = param("what is added to the images", default=Square())

    def eligible(self, labels: Indices) -> npt.NDArray[np.bool_]:
        """The samples of all classes but the target, [n] bool."""
        return np.not_equal(labels, self.target, dtype=np.bool_)

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        """The images with the trigger, labelled as the target."""
        return self._stamped(samples)

    def probe(self, test: Samples) -> Samples:
        """The test images of other classes, with the trigger and the target as label."""
        assert test.images is not None
        others = test.labels != self.target
        return self._stamped(Samples(test.labels[others], test.images[others]))

    def _stamped(self, samples: Samples) -> Samples:
        assert samples.images is not None
        labels = np.full(len(samples.labels), self.target, dtype=np.int64)
        return Samples(labels, self.trigger.stamp(samples.images))

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """A target that the data set does not have, a trigger that the images cannot take."""
        problems = self.trigger.data_problems(shape)
        if self.target >= num_classes:
            problems.append(
                f"{self.name} needs target < classes, got target={self.target} and {num_classes} "
                f"classes: choose one of 0 to {num_classes - 1}"
            )
        return problems
