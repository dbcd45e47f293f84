"""DBA: a backdoor whose trigger is distributed over the malicious clients, and whole at test time.

Xie, Huang, Chen and Li, "DBA: Distributed Backdoor Attacks against Federated Learning", 2020. The
paper cuts a global trigger into four local ones, each a bar of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import ATTACKS, Draw, Samples
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.trigger import Trigger
from fedcore.attacks.triggers.square import Square
from fedcore.components.parameters import param
from fedcore.streams import Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


@ATTACKS.register("dba", "a backdoor, each client with a part of the trigger (Xie et al. 2020)")
class Dba(Backdoor):
    """Malicious client i, in the order in which they are drawn, has part i modulo ``num_parts``.

    The parts tile the pixels that the trigger changes: these are taken row by row and cut into runs
    whose lengths differ by one pixel at most. Of the default square of 4 pixels each part is a row,
    as the bars of the paper are. Success is measured with the whole trigger.
    """

    trigger: Trigger = param("what is cut into parts", default=Square(size=4))
    num_parts: int = param("parts of the trigger", default=4, low=2)

    def poison(self, samples: Samples, draw: Draw) -> Samples:
        """The images with the client's part of the trigger, labelled as the target."""
        assert samples.images is not None
        whole = self._stamped(samples)
        assert whole.images is not None
        part = self.cut(samples.images.shape[1:])[draw.place % self.num_parts]
        images = samples.images.copy()
        flat, stamped = (i.reshape(len(i), -1, i.shape[-1]) for i in (images, whole.images))
        flat[:, part] = stamped[:, part]
        return Samples(whole.labels, images)

    def cut(self, shape: tuple[int, ...]) -> list[Indices]:
        """The pixels of each part, in images of ``shape`` (height, width, channels).

        A pixel is row * width + column.
        """
        return np.array_split(np.flatnonzero(changes(self.trigger, shape)), self.num_parts)

    def problems(self, scenario: Scenario) -> list[str]:
        """Fewer malicious clients than parts: no client would train on some of them."""
        problems = super().problems(scenario)
        if scenario.num_malicious < self.num_parts:
            problems.append(
                f"dba needs malicious clients >= num_parts, got {scenario.num_malicious} "
                f"(malicious_fraction={scenario.malicious_fraction:g} of "
                f"num_clients={scenario.num_clients}) and num_parts={self.num_parts}: raise "
                "malicious_fraction, or lower num_parts"
            )
        return problems

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """What a backdoor refuses, and a trigger of fewer pixels than parts."""
        if problems := super().data_problems(num_classes, shape):
            return problems
        pixels = int(changes(self.trigger, shape).sum())
        if pixels < self.num_parts:
            return [
                f"dba needs num_parts <= the trigger's pixels, got num_parts={self.num_parts} "
                f"and {pixels} pixels: lower num_parts, or take a larger trigger"
            ]
        return []


def changes(trigger: Trigger, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which pixels ``trigger`` changes, [height, width], in images of ``shape``.

    It changes what it makes of a black image into something else than black, or of a white one
    into something else than white.
    """
    plain = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    result: npt.NDArray[np.bool_] = (trigger.stamp(plain) != plain).any(axis=(0, 3))
    return result
