"""A data set that tests add: a few grey levels, with a parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedcore.components.parameters import param
from fedcore.data.checks import build
from fedcore.data.dataset import Dataset, Source


class Drawn(Source):
    """Images of one grey level each, of two classes."""

    samples: int = param("training images", default=100, low=2, high=250)

    def load(self, data_dir: Path | None) -> Dataset:
        levels = np.arange(self.samples + 2, dtype=np.uint8)
        images, labels = np.tile(levels[:, None, None], (1, 8, 8)), levels % 2
        arrays = {
            "train_images": images[2:], "train_labels": labels[2:],
            "test_images": images[:2], "test_labels": labels[:2],
        }  # fmt: skip
        return build(self.called, arrays, "drawn", num_classes=2)
