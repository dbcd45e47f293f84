"""A data set that is made, with a parameter."""

from pathlib import Path

import numpy as np

from fedcore.components import param
from fedcore.data.checks import build
from fedcore.data.dataset import DATASETS, Dataset, Source

CLASSES, SIDE = 4, 8


@DATASETS.register("stripes", "8x8 images with a bright stripe where the class is")
class Stripes(Source):
    """Noise in 0 ... 99, and a stripe of two rows that is ``contrast`` brighter."""

    contrast: int = param("levels of grey", default=80, low=1, high=155)

    def load(self, data_dir: Path) -> Dataset:
        """400 training and 200 test images [n, 8, 8, 1] of four classes."""
        generator = np.random.default_rng(4)
        arrays = {}
        for part, count in (("train", 400), ("test", 200)):
            labels = np.arange(count) % CLASSES
            images = generator.integers(0, 100, (count, SIDE, SIDE), dtype=np.uint8)
            for label in range(CLASSES):
                images[labels == label, 2 * label : 2 * label + 2] += np.uint8(self.contrast)
            arrays |= {f"{part}_images": images, f"{part}_labels": labels}
        return build(self.called, arrays, f"dataset {self.called!r}", num_classes=CLASSES)

    def classes(self, data_dir: Path) -> int:
        """Four."""
        return CLASSES
