"""Feature skew: clients see the same kinds of things through instruments of their own.

Each client's images are blurred and made brighter or darker, always in the same way, whatever
partition deals them. Cf. Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization", 2021, whose clients have other scanners, sensors and styles.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt

from fedcore.components.parameters import param
from fedcore.partition.iid import Iid
from fedcore.partition.partitioner import PARTITIONERS, Images, Partitioner
from fedcore.streams import Generator, Indices

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

_ONE: Final = 1 << 12  # the sum of a kernel, whose weights are whole numbers: nothing rounds


@PARTITIONERS.register("featureskew", "images of a brightness or blur of each client's own")
class FeatureSkew(Partitioner):
    """The partition ``of``, with training images changed by client: first blurred, then scaled.

    A client's blur is Gaussian, of a deviation drawn from [0, ``blur``] pixels, with the edge
    repeated outside the image. Its levels are multiplied by a factor drawn from [1 - ``intensity``,
    1 + ``intensity``] and cut to [0, 255]. Both are rounded, halves up in the first and to even in
    the second. Test images stay as they are. Poison is put on changed images.
    Source: after Li, Jiang, Zhang, Kamp, Dou, "FedBN: Federated Learning on Non-IID Features via
    Local Batch Normalization", ICLR 2021, whose clients differ in scanners and styles.
    """

    changes_images: ClassVar[bool] = True
    of: Partitioner = param("partition that deals the samples", default=Iid())
    intensity: float = param("spread of the clients' brightness", default=0.5, low=0, high=1)
    blur: float = param("largest deviation of a client's blur, pixels", default=0.0, low=0, high=20)

    def split(self, labels: Indices, num_clients: int, generator: Generator) -> list[Indices]:
        """That of ``of``."""
        return self.of.split(labels, num_clients, generator)

    def changed(self, images: Images, generator: Generator) -> Images:
        """A client's ``images`` [k, h, w, c] as it has them, blurred and scaled."""
        factor, deviation = self.drawn(generator)
        return scaled(blurred(images, deviation), factor)

    def drawn(self, generator: Generator) -> tuple[float, float]:
        """(factor, deviation) of a client."""
        one, other = generator.random(2)
        return 1 + self.intensity * (2 * float(one) - 1), self.blur * float(other)

    def problems(self, scenario: Scenario) -> list[str]:
        """Parameters that change nothing, and another partition that changes images inside."""
        problems = self.of.problems(scenario)
        if self.intensity == self.blur == 0:
            problems.append(
                "featureskew with intensity=0 and blur=0 would change no image: raise either, or "
                f"name partition {self.of.called!r} alone"
            )
        if self.of.changes_images:
            problems.append(
                f"featureskew changes images once: name a partition that deals samples, not "
                f"{self.of.called!r}, in of"
            )
        return problems


def scaled(images: Images, factor: float) -> Images:
    """``images`` with each level times ``factor``, rounded to the nearest, cut to [0, 255]."""
    levels = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    changed: Images = levels[images]
    return changed


def kernel(deviation: float) -> npt.NDArray[np.int64]:
    """Weights of a Gaussian of ``deviation`` pixels up to 3 deviations away, which sum to 4096.

    Each is rounded; what is missing to the sum goes to the middle.
    """
    reach = math.ceil(3 * deviation)
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (places / max(deviation, 1e-9)) ** 2)
    whole: npt.NDArray[np.int64] = np.rint(_ONE * weights / weights.sum()).astype(np.int64)
    whole[reach] += _ONE - whole.sum()
    return whole


def blurred(images: Images, deviation: float) -> Images:
    """``images`` [k, h, w, c] under a Gaussian of ``deviation`` pixels, the edge repeated."""
    weights = kernel(deviation)
    if len(weights) == 1:
        return images
    sums = images.astype(np.int64)
    for axis in (1, 2):
        sums = _convolved(sums, weights, axis)
    return ((sums + _ONE * _ONE // 2) // (_ONE * _ONE)).astype(np.uint8)


def _convolved(
    values: npt.NDArray[np.int64], weights: npt.NDArray[np.int64], axis: int
) -> npt.NDArray[np.int64]:
    size, reach = values.shape[axis], len(weights) // 2
    result = np.zeros_like(values)
    for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
        if weight:
            places = np.clip(np.arange(size) + offset, 0, size - 1)
            result += weight * values.take(places, axis)
    return result
