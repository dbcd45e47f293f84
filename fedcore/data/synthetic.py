"""synthetic:N: a generated set of any size, for measuring scale (such as 10,000 clients).

A class is a fixed 8x8 grey pattern with levels around the middle; a sample is its class's pattern
plus Gaussian noise, clipped to 0..255. Taking the nearest pattern is right on some 91 % of the
samples, so a small model learns the set and there is still something for an attack to spoil.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from fedcore.data.checks import Array, build, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source
from fedcore.streams import Generator, Purpose, stream

_CLASSES: Final = 10
_SIDE: Final = 8
_TEST_SAMPLES: Final = 1000
_LARGEST: Final = 5_000_000  # the noise takes 256 bytes a sample while it is drawn
_MIDDLE: Final = 128
_PATTERN_SPREAD: Final = 32  # levels are uniform in _MIDDLE +- this
_NOISE: Final = 48.0  # standard deviation, in levels


@DATASETS.register("synthetic", "synthetic:N, N generated 8x8 grey images, 10 classes")
class Synthetic(Source):
    """Generated samples; the same patterns and the same test set whatever N is."""

    def load(self, data_dir: Path) -> Dataset:
        """N training and 1,000 test images [n, 8, 8, 1], classes balanced within one sample."""
        refuse(self.argument_problems())
        generator = stream(0, Purpose.SYNTHETIC_DATA)
        patterns = generator.integers(
            _MIDDLE - _PATTERN_SPREAD, _MIDDLE + _PATTERN_SPREAD + 1, (_CLASSES, _SIDE, _SIDE)
        ).astype(np.float32)
        # the test set comes first: it must not depend on N
        test_images, test_labels = _draw(patterns, _TEST_SAMPLES, generator)
        train_images, train_labels = _draw(patterns, int(self.argument or 0), generator)
        arrays = {
            "train_images": train_images,
            "train_labels": train_labels,
            "test_images": test_images,
            "test_labels": test_labels,
        }
        return build(self.called, arrays, f"dataset {self.called!r}", num_classes=_CLASSES)

    def argument_problems(self) -> list[str]:
        """N must be a whole number in [10, 5000000]."""
        size = self.argument or ""
        # isascii: isdecimal alone also takes other scripts' digits
        if size.isascii() and size.isdecimal() and _CLASSES <= int(size[:9]) <= _LARGEST:
            return []
        return [
            f"dataset {self.called!r}: N of synthetic:N must be a whole number in "
            f"[{_CLASSES}, {_LARGEST}], got {size!r}; write for example synthetic:10000"
        ]


def _draw(patterns: Array, count: int, generator: Generator) -> tuple[Array, Array]:
    labels = generator.permutation(np.arange(count) % _CLASSES)
    pixels = generator.standard_normal((count, _SIDE, _SIDE), dtype=np.float32)
    pixels *= _NOISE
    pixels += patterns[labels]
    np.rint(pixels, out=pixels)
    np.clip(pixels, 0, 255, out=pixels)
    return pixels.astype(np.uint8), labels
